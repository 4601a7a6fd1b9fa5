"""The best label sequence that a label scheme allows, in the graph and as a numpy reference.

A model that labels each token for itself may answer O I-PER, which no BIO text contains. Viterbi decoding picks the
sequence with the highest sum of log-probabilities among those the scheme allows (Viterbi 1967; for tagging see
Collobert et al., "Natural Language Processing (almost) from Scratch", JMLR 2011, section 3.3.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.labels import Tag, detect_scheme, parse_labels

__all__ = ["FORBIDDEN", "constraint_tables", "outside_index", "viterbi_graph", "viterbi_reference"]

Floats = npt.NDArray[np.float32]

FORBIDDEN = -1e9
"""Score of a forbidden step. Log-probabilities of 512 tokens sum to more than -1e5, so one such step loses always;
512 of them stay far from float32's limit."""


def constraint_tables(labels: Sequence[str], scheme: str | None = None) -> tuple[Floats, Floats]:
    """Return what a label scheme allows as scores: 0 for an allowed step, `FORBIDDEN` for another.

    Args:
        labels: label of each class index.
        scheme: name of the scheme; None detects it.

    Returns:
        ``(start, transitions)``, float32 of shapes ``[labels]`` and ``[labels, labels]``; ``transitions[i, j]`` is
        for label j after label i.
    """
    tags = parse_labels(labels, scheme or detect_scheme(labels))
    rules = _Rules(
        has_end=any(tag.role == "E" for tag in tags),
        begun=frozenset(tag.type for tag in tags if tag.role == "B"),
    )
    start = [rules.score(Tag("O", ""), after) for after in tags]
    transitions = [[rules.score(before, after) for after in tags] for before in tags]
    return np.array(start, np.float32), np.array(transitions, np.float32)


@dataclass(frozen=True, slots=True)
class _Rules:
    """What a set of labels allows.

    Attributes:
        has_end: whether entities end with a label of their own: one that has begun must then end.
        begun: the types that have a B label. One without, and every type of IO, may begin with I.
    """

    has_end: bool
    begun: frozenset[str]

    def score(self, before: Tag, after: Tag) -> float:
        inside = before.role in "BI" and before.type in self.begun
        if after.role in "IE" and after.type in self.begun:
            return 0.0 if inside and before.type == after.type else FORBIDDEN
        return FORBIDDEN if inside and self.has_end else 0.0


def outside_index(labels: Sequence[str], scheme: str) -> int | None:
    """Return the index of the outside label, ``O`` before any other without a type; None if there is none."""
    outside = [index for index, tag in enumerate(parse_labels(labels, scheme)) if tag.role == "O"]
    return min(outside, key=lambda index: labels[index] != "O", default=None)


def viterbi_reference(emissions: npt.NDArray[Any], start: Floats, transitions: Floats) -> npt.NDArray[np.int32]:
    """Decode one sequence in plain numpy; ties go to the lower index, as in `viterbi_graph`.

    Args:
        emissions: log-probabilities (or logits: the best sequence is the same) of shape ``[length, labels]``.
        start: scores of the first label, ``[labels]``.
        transitions: scores of a label after another, ``[labels, labels]``.

    Returns:
        Int32 label ids of shape ``[length]``.
    """
    best = start + emissions[0]
    pointers = []
    for emission in emissions[1:]:
        scores = best[:, None] + transitions
        pointers.append(scores.argmax(axis=0))
        best = scores.max(axis=0) + emission
    path = [int(best.argmax())]
    for pointer in reversed(pointers):
        path.append(int(pointer[path[-1]]))
    return np.array(path[::-1], np.int32)


def viterbi_graph(emissions: Any, start: Floats, transitions: Floats) -> Any:
    """Decode a batch of sequences with TensorFlow operations.

    Both loops count from 0 to the length and write at their counter: tf2onnx converts only such loops.

    Args:
        emissions: float32 tensor of log-probabilities, ``[batch, length, labels]``; length at least 1.
        start: as for `viterbi_reference`.
        transitions: as for `viterbi_reference`.

    Returns:
        Int32 tensor of label ids, ``[batch, length]``.
    """
    from bertbundle_export.quiet import tf

    steps = tf.transpose(emissions, [1, 0, 2])
    length, labels = tf.shape(steps)[0], start.shape[0]
    pointers = tf.TensorArray(tf.int32, size=length, element_shape=[None, labels])

    def forward(step: Any, best: Any, pointers: Any) -> Any:
        scores = best[:, :, None] + transitions[None]
        pointers = pointers.write(step, tf.argmax(scores, axis=1, output_type=tf.int32))
        before = tf.where(tf.equal(step, 0), start[None] + tf.zeros_like(best), tf.reduce_max(scores, axis=1))
        return step + 1, before + steps[step], pointers

    _, best, pointers = _loop(length, forward, tf.zeros_like(steps[0]), [None, labels], pointers)
    reversed_pointers = tf.reverse(pointers.stack(), [0])
    path = tf.TensorArray(tf.int32, size=length, element_shape=[None])

    def backward(step: Any, label: Any, path: Any) -> Any:
        path = path.write(step, label)
        return step + 1, tf.gather(reversed_pointers[step], label, axis=1, batch_dims=1), path

    last = tf.argmax(best, axis=-1, output_type=tf.int32)
    _, _, path = _loop(length, backward, last, [None], path)
    return tf.transpose(tf.reverse(path.stack(), [0]))


def _loop(length: Any, body: Any, state: Any, state_shape: list[int | None], written: Any) -> Any:
    """Run `body` for each step from 0 to length; TF Serving sees one functional While."""
    from bertbundle_export.quiet import tf

    shapes = (tf.TensorShape([]), tf.TensorShape(state_shape), tf.TensorShape(None))
    return tf.while_loop(lambda step, *_: step < length, body, (0, state, written), shape_invariants=shapes)
