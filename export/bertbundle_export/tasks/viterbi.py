"""Decode the best label sequence that a label scheme allows: in the graph, and as a numpy reference.

A model that labels each token independently may predict O I-PER, which is not valid BIO. Viterbi decoding returns the
valid sequence with the highest sum of log-probabilities (Viterbi 1967; for tagging see
Collobert et al., "Natural Language Processing (almost) from Scratch", JMLR 2011, section 3.3.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.contract.labels import Tag, detect_scheme, parse_labels
from bertbundle_export.tasks.loops import scan

__all__ = ["FORBIDDEN", "constraint_tables", "outside_index", "viterbi_graph", "viterbi_reference"]

Floats = npt.NDArray[np.float32]

FORBIDDEN = -1e9
"""Score of a forbidden transition. The log-probabilities of 512 tokens sum to more than -1e5, so a sequence with one
forbidden transition never wins; 512 of them stay far from float32's limit."""


def constraint_tables(labels: Sequence[str], scheme: str | None = None) -> tuple[Floats, Floats]:
    """Return the transition scores of a label scheme: 0 if the scheme allows the transition, else `FORBIDDEN`.

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
        types_with_begin=frozenset(tag.type for tag in tags if tag.role == "B"),
    )
    start = [rules.score(Tag("O", ""), tag) for tag in tags]
    transitions = [[rules.score(previous, tag) for tag in tags] for previous in tags]
    return np.array(start, np.float32), np.array(transitions, np.float32)


@dataclass(frozen=True, slots=True)
class _Rules:
    """The transitions that a set of labels allows.

    Attributes:
        has_end: whether the last token of an entity has a label of its own (E): then each entity must end with it.
        types_with_begin: entity types with a B label. Entities of other types, as in IO, may start with I.
    """

    has_end: bool
    types_with_begin: frozenset[str]

    def score(self, previous: Tag, tag: Tag) -> float:
        inside = previous.role in "BI" and previous.type in self.types_with_begin
        if tag.role in "IE" and tag.type in self.types_with_begin:
            return 0.0 if inside and previous.type == tag.type else FORBIDDEN
        return FORBIDDEN if inside and self.has_end else 0.0


def outside_index(labels: Sequence[str], scheme: str) -> int | None:
    """Return the index of the outside label: ``O``, or else another label without a type; None if there is none."""
    outside = [index for index, tag in enumerate(parse_labels(labels, scheme)) if tag.role == "O"]
    return min(outside, key=lambda index: labels[index] != "O", default=None)


def viterbi_reference(emissions: npt.NDArray[Any], start: Floats, transitions: Floats) -> npt.NDArray[np.int32]:
    """Decode one sequence in numpy; the lower index wins a tie, as in `viterbi_graph`.

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

    Args:
        emissions: float32 tensor of log-probabilities, ``[batch, length, labels]``; length at least 1.
        start: as for `viterbi_reference`.
        transitions: as for `viterbi_reference`.

    Returns:
        Int32 tensor of label ids, ``[batch, length]``.
    """
    from bertbundle_export.tensorflow_import import tf

    steps = tf.transpose(emissions, [1, 0, 2])
    length = tf.shape(steps)[0]
    row = tf.TensorSpec([None], tf.int32)

    def forward(step: Any, best: Any) -> Any:
        scores = best[:, :, None] + transitions
        before = tf.where(tf.equal(step, 0), start + tf.zeros_like(best), tf.reduce_max(scores, axis=1))
        return [before + tf.gather(steps, step)], [tf.argmax(scores, axis=1, output_type=tf.int32)]

    (best,), (pointers,) = scan(length, forward, [tf.zeros_like(steps[0])], [tf.TensorSpec(steps.shape[1:], tf.int32)])

    def backward(step: Any, label: Any) -> Any:
        return [tf.gather(tf.gather(pointers, length - 1 - step), label, axis=1, batch_dims=1)], [label]

    _, (path,) = scan(length, backward, [tf.argmax(best, axis=-1, output_type=tf.int32)], [row])
    return tf.transpose(tf.reverse(path, [0]))
