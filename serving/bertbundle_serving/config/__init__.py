"""Read TensorFlow Serving's configuration files."""
