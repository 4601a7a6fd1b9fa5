"""Text in, answers out: the client library behind gRPC and REST, in front of TensorFlow Serving or in a server."""
