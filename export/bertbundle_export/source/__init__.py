"""The source model: a Keras BERT with all that a bundle needs to know of it."""
