"""Write a SavedModel that returns its input, to measure TensorFlow alone: ``empty_model.py DIRECTORY``."""

from __future__ import annotations

import sys

from bertbundle_export.tensorflow_import import tf


def main() -> None:
    """Write the model."""
    call = tf.function(lambda x: {"y": x}, input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    module = tf.Module()
    tf.saved_model.save(module, sys.argv[1], signatures=call.get_concrete_function())


if __name__ == "__main__":
    main()
