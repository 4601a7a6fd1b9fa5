"""TensorFlow Serving's messages: tensors, requests, responses and status codes."""
