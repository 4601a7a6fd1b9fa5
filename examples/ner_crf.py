"""A linear-chain conditional random field (Lafferty, McCallum and Pereira 2001): its weights and its loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from bertbundle_export.tasks.viterbi import constraint_tables

__all__ = ["Crf", "crf_loss"]


class Crf(keras.layers.Layer):  # type: ignore[misc]  # tf_keras ships no annotations
    """The scores of label transitions: learned, with a large penalty for those that the label scheme forbids.

    It is a layer because transformers' `from_pretrained` does not restore weights of the model itself.
    """

    def __init__(self, labels: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        _, self.constraints = constraint_tables(labels)

    def build(self, input_shape: Any = None) -> None:
        """Create the weights: all allowed transitions start with equal scores."""
        self.learned = self.add_weight(name="transitions", shape=self.constraints.shape, initializer="zeros")
        super().build(input_shape)

    def transitions(self) -> tf.Tensor:
        """Return float32 ``[labels, labels]``, the score of label j after label i at ``[i, j]``."""
        return self.learned + self.constraints


def crf_loss(logits: tf.Tensor, label_ids: tf.Tensor, mask: tf.Tensor, transitions: tf.Tensor) -> tf.Tensor:
    """Return the negative log-likelihood of each sequence of labels, float32 ``[batch]``.

    Args:
        logits: float32 ``[batch, length, labels]``.
        label_ids: int32 ``[batch, length]``; ignored where the mask is 0.
        mask: int32 ``[batch, length]``, 1 for the tokens of a sequence and 0 for the padding after them.
        transitions: float32 ``[labels, labels]``, the score of label j after label i at ``[i, j]``.
    """
    weights = tf.cast(mask, tf.float32)
    emission_scores = tf.gather(logits, label_ids, axis=2, batch_dims=2)
    transition_scores = tf.gather_nd(transitions, tf.stack([label_ids[:, :-1], label_ids[:, 1:]], axis=-1))
    score = tf.reduce_sum(emission_scores * weights, axis=1) + tf.reduce_sum(transition_scores * weights[:, 1:], axis=1)
    return _log_partition(logits, mask, transitions) - score


def _log_partition(logits: tf.Tensor, mask: tf.Tensor, transitions: tf.Tensor) -> tf.Tensor:
    """Return the log of the sum over all label sequences, by the forward algorithm."""

    def step(alpha: tf.Tensor, token: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        emission, is_token = token
        new_alpha = tf.reduce_logsumexp(alpha[:, :, None] + transitions, axis=1) + emission
        return tf.where(is_token[:, None], new_alpha, alpha)

    tokens = (tf.transpose(logits, [1, 0, 2])[1:], tf.transpose(mask)[1:] == 1)
    return tf.reduce_logsumexp(tf.foldl(step, tokens, initializer=logits[:, 0]), axis=-1)
