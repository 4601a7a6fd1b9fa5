"""BERT's encoder, rebuilt for inference in TensorFlow and in ONNX."""
