"""Text to tensors: the tokenizer, fixed-length features, and windows over long texts."""
