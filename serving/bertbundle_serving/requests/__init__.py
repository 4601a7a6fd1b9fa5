"""Requests as arrays: decoded and checked inputs, tf.Examples, encoded outputs."""
