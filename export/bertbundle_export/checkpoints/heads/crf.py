"""A Dense layer and a conditional random field (CRF), as bert4keras' ConditionalRandomField."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bertbundle_export.checkpoints.heads.base import bert_layer
from bertbundle_export.errors import CheckpointError
from bertbundle_export.tasks.viterbi import FORBIDDEN

__all__ = ["crf_tagger", "transitions_layer"]


def crf_tagger(
    config: Any,
    *,
    labels: int,
    lr_multiplier: float | None = None,
    starts: Sequence[int] = (),
    ends: Sequence[int] = (),
) -> Any:
    """Build a functional model: BERT as the layer ``bert``, a Dense layer ``classifier``, and a layer ``crf``.

    Args:
        config: a BertConfig.
        labels: number of labels.
        lr_multiplier: the stored transitions are multiplied by it.
        starts: the labels that the first token, [CLS], may have, as for bert4keras' ViterbiDecoder; empty for all.
        ends: the labels that the last token, [SEP], may have.

    Raises:
        CheckpointError: lr_multiplier is not known, or a start or end is not a label.
    """
    import tf_keras

    from bertbundle_export.tensorflow_import import tf

    multiplier = _check_multiplier(lr_multiplier)
    inputs, vectors = bert_layer(config)
    logits = tf_keras.layers.Dense(labels, name="classifier")(vectors)
    transitions = transitions_layer(labels)(logits) * multiplier
    outputs = {"logits": logits, "transitions": transitions}
    for name, allowed in (("start_transitions", starts), ("end_transitions", ends)):
        if allowed:
            outputs[name] = tf.identity(_only(allowed, labels)) + 0 * transitions[0]
    return tf_keras.Model(inputs, outputs)


def _check_multiplier(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if value is not None:
        raise CheckpointError(f"lr_multiplier must be a number, got {value!r}.")
    raise CheckpointError(
        "the weights of ConditionalRandomField do not say lr_multiplier, which its transitions are multiplied by: pass "
        "--init-args lr_multiplier=X, with the value of the training script (bert4keras' default is 1)."
    )


def _only(allowed: Sequence[int], labels: int) -> Any:
    if not isinstance(allowed, list | tuple) or not set(allowed) <= set(range(labels)):
        raise CheckpointError(f"starts and ends must be lists of label indices below {labels}, got {allowed!r}.")
    scores = np.full(labels, FORBIDDEN, np.float32)
    scores[list(allowed)] = 0
    return scores


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
