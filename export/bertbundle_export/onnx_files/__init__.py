"""Writing the ONNX files."""
