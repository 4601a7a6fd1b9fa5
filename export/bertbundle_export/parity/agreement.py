"""The share of labels, classes or ranks that agree: how it is computed for each output, and checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bertbundle.contract.manifest import ParityRow
from bertbundle.contract.types import Arrays
from bertbundle_export.errors import ToleranceError
from bertbundle_export.tasks import Task
from bertbundle_export.tolerance import TOLERANCES, Tolerance

__all__ = ["Agreement", "Comparison", "agreement_rule", "check_agreement", "same_classes", "same_ranks"]

Array: TypeAlias = npt.NDArray[Any]
Agreement: TypeAlias = Callable[[Array, Array], float]
"""Return the share of actual values that agree with the expected ones."""

# Two classes whose source scores are within float32's tolerance are a tie: a format may swap them, in any precision.
_TIE = TOLERANCES["float32"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One output of one signature.

    Attributes:
        row: the result for the manifest.
        count: number of rows or tokens that were compared.
    """

    row: ParityRow
    count: int


def check_agreement(compared: Sequence[Comparison], tolerance: Tolerance) -> None:
    """Check the share of equal labels of each output.

    In float32 it is checked for each signature. In lower precisions it is checked over all signatures together: they
    share one set of weights, and a signature with few tokens would lose half a percent for each that differs.

    Raises:
        ToleranceError: too few labels agree.
    """
    for name in sorted({item.row.output for item in compared}):
        of_output = [item for item in compared if item.row.output == name]
        for group in [of_output] if tolerance.peak else [[item] for item in of_output]:
            _check_group(group, tolerance.agreement)


def _check_group(group: Sequence[Comparison], required: float) -> None:
    total = sum(item.count for item in group)
    agreement = sum(item.row.agreement * item.count for item in group) / total if total else 1.0
    if agreement < required:
        worst = min((item.row for item in group), key=lambda row: row.agreement)
        raise ToleranceError(
            f"{worst.format} output {worst.output}: {agreement:.2%} of labels agree with the source model's, at least "
            f"{required:.1%} must. The worst signature is {worst.signature} ({worst.agreement:.2%})."
        )


def agreement_rule(name: str, task: Task, expected: Arrays, mask: Array) -> Agreement:
    """Return the rule for one output of a task, except spans; `mask` selects the rows and tokens that are compared."""
    if name in task.class_outputs:
        return same_classes
    if name in task.rank_outputs:
        scores = expected[task.rank_outputs[name]][mask]
        return lambda ids, expected_ids: same_ranks(ids, expected_ids, scores)
    return _same_labels if expected[name].dtype.kind != "f" else _only_values


def same_classes(actual: Array, expected: Array) -> float:
    """Return the share of equal best classes along the last axis; near ties count as equal."""
    best = expected.max(axis=-1)
    chosen = np.take_along_axis(expected, actual.argmax(axis=-1)[..., None], axis=-1)[..., 0]
    return float((best - chosen <= 2 * (_TIE.atol + _TIE.rtol * np.abs(best))).mean())


def same_ranks(actual: Array, expected: Array, scores: Array) -> float:
    """Return the share of equal ids, without those whose score nearly ties with a neighbor's or with the cut-off."""
    gaps = -np.diff(scores, axis=-1) > 2 * (_TIE.atol + _TIE.rtol * scores[..., 1:])
    distinct = np.ones(scores.shape, bool)
    distinct[..., 1:] &= gaps
    distinct[..., :-1] &= gaps
    distinct[..., -1] = False
    return float((actual == expected)[distinct].mean()) if distinct.any() else 1.0


def _same_labels(actual: Array, expected: Array) -> float:
    return float((actual == expected).mean())


def _only_values(actual: Array, expected: Array) -> float:
    """Return 1: an output of numbers has no labels, so only its values are compared."""
    del actual, expected
    return 1.0
