"""TensorFlow Serving's configuration files."""
