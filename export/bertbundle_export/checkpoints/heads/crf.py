"""The scores of a conditional random field (CRF)."""

from __future__ import annotations

from typing import Any

__all__ = ["transitions_layer"]


def transitions_layer(labels: int) -> Any:
    """Return a layer that returns the scores of a CRF's label pairs, ``[labels, labels]``, for any input."""
    import tf_keras

    from bertbundle_export.tensorflow_import import tf

    class Transitions(tf_keras.layers.Layer):  # type: ignore[misc]
        def build(self, input_shape: Any) -> None:
            self.scores = self.add_weight(name="transitions", shape=(labels, labels))
            super().build(input_shape)

        def call(self, inputs: Any) -> Any:
            del inputs
            return tf.identity(self.scores)

    return Transitions(name="crf")
