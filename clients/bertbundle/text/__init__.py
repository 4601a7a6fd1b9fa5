"""Text to tensors: the tokenizer, fixed-length input features, and windows over long texts."""
