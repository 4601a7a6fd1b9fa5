"""Decode a linear-chain conditional random field (CRF): in the graph, and as a numpy reference.

The score of a label sequence is the sum of its tokens' logits and of the transitions between neighbors. The result is
the best sequence (Viterbi 1967); a label's score is its marginal probability over all sequences, by
forward-backward (Lafferty, McCallum and Pereira, "Conditional Random Fields", ICML 2001).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle_export.tasks.loops import scan
from bertbundle_export.tasks.viterbi import FORBIDDEN, viterbi_reference

__all__ = ["TABLES", "crf_graph", "crf_reference"]

Array = npt.NDArray[Any]
Decoded = tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]

TABLES = {"transitions": 2, "start_transitions": 1, "end_transitions": 1}
"""Number of axes of each table of CRF scores, by the name of the model's output.

``transitions[i, j]`` scores label j after label i. The tables for the first and the last label of a sequence are
optional."""


def crf_graph(logits: Any, mask: Any, transitions: Any, start: Any = 0.0, end: Any = 0.0) -> tuple[Any, Any]:
    """Decode a batch of sequences with TensorFlow operations.

    Args:
        logits: float32 ``[batch, length, labels]``.
        mask: int32 ``[batch, length]``: 1 for the tokens of a sequence, 0 for the padding after them, which is ignored.
        transitions: float32 ``[labels, labels]``.
        start: float32 ``[labels]``, scores of the first label.
        end: float32 ``[labels]``, scores of the last token's label.

    Returns:
        Label ids, int32 ``[batch, length]``, and their marginal probabilities, float32 ``[batch, length]``; both are 0
        for padding.
    """
    from bertbundle_export.tensorflow_import import tf

    # log_softmax subtracts the same number from all labels of a token: the best sequence is unchanged, and sums stay
    # small enough for float32.
    emissions = tf.nn.log_softmax(logits) * tf.cast(mask, tf.float32)[:, :, None]
    steps = tf.transpose(emissions, [1, 0, 2])
    is_token = tf.transpose(mask)[:, :, None] == 1
    has_next = tf.concat([is_token[1:], tf.zeros_like(is_token[:1])], axis=0)
    # Some models forbid a transition by minus infinity. tf2onnx converts tf.where to products: infinity * 0 is NaN.
    transitions, start, end = (tf.maximum(table, FORBIDDEN) for table in (transitions, start, end))
    length, zeros = tf.shape(steps)[0], tf.zeros_like(steps[0])
    labels = tf.range(tf.shape(steps)[2])
    same_label = labels + tf.zeros_like(zeros, tf.int32)

    def forward(step: Any, best: Any, alpha: Any) -> Any:
        emission, follows = tf.gather(steps, step), tf.gather(has_next, step)
        best, alpha = _centered(best + emission), _centered(alpha + emission)
        paths = best[:, :, None] + transitions
        pointers = tf.where(follows, tf.argmax(paths, axis=1, output_type=tf.int32), same_label)
        best_after = tf.where(follows, tf.reduce_max(paths, axis=1), best)
        return [best_after, _log_sum_exp(alpha[:, :, None] + transitions, 1)], [pointers, alpha]

    row, column = tf.TensorSpec(steps.shape[1:]), tf.TensorSpec(steps.shape[1:2], tf.int32)
    initial = [start + zeros, start + zeros]
    (best, _), (pointers, alphas) = scan(length, forward, initial, [tf.TensorSpec(row.shape, tf.int32), row])

    def backward(step: Any, label: Any, beta: Any) -> Any:
        position = length - 1 - step
        sums = _log_sum_exp(transitions + (tf.gather(steps, position) + beta)[:, None, :], 2)
        chosen = tf.cast(tf.equal(label[:, None], labels), tf.int32)
        before = tf.reduce_sum(tf.gather(pointers, tf.maximum(position - 1, 0)) * chosen, axis=1)
        return [before, tf.where(tf.gather(is_token, position), _centered(sums), beta)], [label, beta]

    last = tf.argmax(best + end, axis=-1, output_type=tf.int32)
    _, (path, betas) = scan(length, backward, [last, end + zeros], [column, row])
    label_ids = tf.transpose(tf.reverse(path, [0]))
    marginals = tf.nn.softmax(tf.transpose(alphas + tf.reverse(betas, [0]), [1, 0, 2]))
    scores = tf.gather(marginals, label_ids, axis=2, batch_dims=2)
    return label_ids * mask, scores * tf.cast(mask, tf.float32)


def _log_sum_exp(values: Any, axis: int) -> Any:
    from bertbundle_export.tensorflow_import import tf

    top = tf.reduce_max(values, axis=axis, keepdims=True)
    return tf.math.log(tf.reduce_sum(tf.exp(values - top), axis=axis)) + tf.squeeze(top, axis)


def _centered(values: Any) -> Any:
    """Subtract the maximum over the labels: sums over hundreds of tokens would lose precision in float32."""
    from bertbundle_export.tensorflow_import import tf

    return values - tf.reduce_max(values, axis=-1, keepdims=True)


def crf_reference(logits: Array, mask: Array, transitions: Array, start: Any = 0.0, end: Any = 0.0) -> Decoded:
    """Do the same as `crf_graph` in numpy, in float64, one sequence at a time."""
    label_ids = np.zeros(mask.shape, np.int32)
    scores = np.zeros(mask.shape, np.float32)
    transitions, start, end = (np.maximum(np.float64(table), FORBIDDEN) for table in (transitions, start, end))
    for row, is_token in enumerate(mask == 1):
        emissions = logits[row, is_token].astype(np.float64)
        emissions[0] += start
        emissions[-1] += end
        best = viterbi_reference(emissions, np.zeros(len(transitions), np.float32), transitions)
        label_ids[row, is_token] = best
        scores[row, is_token] = _marginals(emissions, transitions)[np.arange(len(best)), best]
    return label_ids, scores


def _marginals(emissions: Array, transitions: Array) -> Array:
    """Return the probability of each label of each token, ``[length, labels]``, by forward-backward."""
    alphas, betas = [emissions[0]], [np.zeros(len(transitions))]
    for emission in emissions[1:]:
        alphas.append(np.logaddexp.reduce(alphas[-1][:, None] + transitions, axis=0) + emission)
    for emission in emissions[:0:-1]:
        betas.append(np.logaddexp.reduce(transitions + emission + betas[-1], axis=1))
    both = np.array(alphas) + np.array(betas[::-1])
    marginals: Array = np.exp(both - np.logaddexp.reduce(alphas[-1]))
    return marginals
