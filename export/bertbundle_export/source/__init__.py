"""The source model: a Keras BERT with the facts that a bundle needs."""
