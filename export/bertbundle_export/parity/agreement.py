"""Which labels, classes and ranks agree: each rule takes actual and expected values, and returns the share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle_export.tasks import Task
from bertbundle_export.tolerance import TOLERANCES

__all__ = ["agreement_rule", "same_classes", "same_ranks"]

Array = npt.NDArray[Any]

# What the source itself scores alike, within float32's tolerance whatever a format's precision, may change places.
_EXACT = TOLERANCES["float32"]


def agreement_rule(name: str, task: Task, expected: Mapping[str, Array], mask: Array) -> Callable[..., float]:
    """Return the rule for one output of a task; `mask` says which of its rows and tokens are compared."""
    if name in task.classes:
        return same_classes
    if name in task.ranked:
        scores = expected[task.ranked[name]][mask]
        return lambda actual, wanted: same_ranks(actual, wanted, scores)
    return _same_labels if expected[name].dtype.kind != "f" else _numbers_only


def same_classes(actual: Array, expected: Array) -> float:
    """Return the share of equal best classes, along the last axis, near ties aside."""
    best = expected.max(axis=-1)
    chosen = np.take_along_axis(expected, actual.argmax(axis=-1)[..., None], axis=-1)[..., 0]
    return float((best - chosen <= 2 * (_EXACT.atol + _EXACT.rtol * np.abs(best))).mean())


def same_ranks(actual: Array, expected: Array, scores: Array) -> float:
    """Return the share of equal ids among those whose score is apart from their neighbours', the cut-off included."""
    gaps = -np.diff(scores, axis=-1) > 2 * (_EXACT.atol + _EXACT.rtol * scores[..., 1:])
    apart = np.ones(scores.shape, bool)
    apart[..., 1:] &= gaps
    apart[..., :-1] &= gaps
    apart[..., -1] = False
    return float((actual == expected)[apart].mean()) if apart.any() else 1.0


def _same_labels(actual: Array, expected: Array) -> float:
    return float((actual == expected).mean())


def _numbers_only(actual: Array, expected: Array) -> float:
    del actual, expected
    return 1.0
