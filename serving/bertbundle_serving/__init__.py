"""The embedded server: TensorFlow Serving's gRPC API over a folder of bundles, without TensorFlow where it can."""
