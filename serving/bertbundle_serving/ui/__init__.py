"""The web page for trying the models."""
