"""BERT's encoder rebuilt for inference, for TensorFlow and for ONNX."""
