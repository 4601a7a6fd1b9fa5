"""The embedded server: TensorFlow Serving's gRPC and REST API for bundles, mostly without TensorFlow."""
