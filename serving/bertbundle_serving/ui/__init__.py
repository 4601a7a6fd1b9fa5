"""A web page to try the models."""
