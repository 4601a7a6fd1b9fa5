"""A request as the server understands it: checked inputs, tf.Examples, encoded outputs."""
