"""What all APIs of the gateway share: models, tasks, limits, keys, errors. Knows neither gRPC services nor HTTP."""
