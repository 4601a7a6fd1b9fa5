"""Write the ONNX files of a bundle."""
