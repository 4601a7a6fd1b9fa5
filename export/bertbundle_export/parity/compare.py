"""Compare an exported format with the source model: its outputs on real texts, within a tolerance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.contract.manifest import OutputSpec, ParityRow
from bertbundle.contract.types import Arrays, InputFeatures
from bertbundle_export.errors import OutputNamesError, OutputShapeError, ToleranceError
from bertbundle_export.parity.agreement import Agreement, Comparison, agreement_rule, check_agreement
from bertbundle_export.parity.span_agreement import same_counts, same_spans
from bertbundle_export.runners import Runner
from bertbundle_export.tasks import Task
from bertbundle_export.tolerance import TOLERANCES, Tolerance

__all__ = ["Case", "compare"]


@dataclass(frozen=True, slots=True)
class Case:
    """The inputs of one signature and the source model's outputs for them."""

    features: InputFeatures
    expected: Arrays


def compare(
    format_name: str,
    run: Runner,
    cases: Sequence[Case],
    *,
    outputs: Sequence[OutputSpec],
    task: Task,
    tolerance: Tolerance = TOLERANCES["float32"],
    span_threshold: float = 0.0,
) -> list[ParityRow]:
    """Compare a format's outputs with the source model's: values per signature and output, labels per output.

    Padding is left out of outputs with one value per token: nothing attends to padding and no client reads it, and a
    few of its values magnify rounding errors (MiniLM: 1.6e-4 at padding, 3.7e-6 at every token).

    Args:
        format_name: name of the format in the rows and messages.
        run: runs the format.
        cases: one per signature.
        outputs: the manifest's outputs.
        task: names the outputs that hold classes, ranks or spans.
        tolerance: the tolerance for the format's precision.
        span_threshold: the logit that spans exceed.

    Returns:
        One row per signature and output.

    Raises:
        OutputNamesError: the format has different outputs.
        OutputShapeError: an output has a different shape or dtype.
        ToleranceError: a value differs by more than the tolerance, or too few labels agree.
    """
    per_token = {spec.name for spec in outputs if "length" in spec.shape}
    comparer = _Comparer(format_name, task, tolerance, per_token, span_threshold)
    compared = [item for case in cases for item in comparer.compare_case(case, run(case.features))]
    check_agreement(compared, tolerance)
    return [item.row for item in compared]


@dataclass(frozen=True, slots=True)
class _Comparer:
    """Compares the outputs of one format; `per_token` names the outputs with one value per token."""

    format_name: str
    task: Task
    tolerance: Tolerance
    per_token: set[str]
    span_threshold: float

    def compare_case(self, case: Case, actual: Arrays) -> list[Comparison]:
        """Compare all outputs of one signature."""
        if actual.keys() != case.expected.keys():
            raise OutputNamesError(
                f"{self.format_name} {case.features.signature} has outputs {sorted(actual)}, the source model "
                f"{sorted(case.expected)}."
            )
        return [self._compare_output(name, case, actual) for name in sorted(case.expected)]

    def _compare_output(self, name: str, case: Case, actual: Arrays) -> Comparison:
        mask = self._mask(name, case, actual)
        agreement, count = self._agreement(name, case, actual, mask)
        key = (self.format_name, case.features.signature, name)
        row = _parity_row(key, (actual[name], case.expected[name]), mask, agreement, self.tolerance)
        return Comparison(row, count)

    def _agreement(self, name: str, case: Case, actual: Arrays, mask: npt.NDArray[np.bool_]) -> tuple[Agreement, int]:
        """Return the rule for an output, and the number of rows or tokens that its agreement is a share of."""
        if name not in self.task.span_outputs:
            return agreement_rule(name, self.task, case.expected, mask), int(mask.sum())
        spans, scores, counts = self.task.span_outputs
        if name != spans:
            return (lambda *_: same_counts(actual[counts], actual[spans])), len(mask)
        tokens = int(case.features.inputs["attention_mask"].sum())
        pairs = [(outputs[spans], outputs[scores]) for outputs in (actual, case.expected)]
        return (lambda *_: same_spans(*pairs, threshold=self.span_threshold, tokens=tokens)), tokens

    def _mask(self, name: str, case: Case, actual: Arrays) -> npt.NDArray[np.bool_]:
        """Return which rows, or tokens, of an output are compared."""
        tokens = case.features.inputs["attention_mask"] == 1
        mask = tokens if name in self.per_token else np.ones(len(tokens), bool)
        if choice := self.task.score_outputs.get(name):
            same = actual[choice] == case.expected[choice]
            mask = mask[:, None] & same.all(axis=-1) if choice in self.task.span_outputs else mask & same
        return mask


def _parity_row(
    key: tuple[str, str, str],
    values: tuple[npt.NDArray[Any], npt.NDArray[Any]],
    mask: npt.NDArray[np.bool_],
    agreement: Agreement,
    tolerance: Tolerance,
) -> ParityRow:
    """Return the row of an output; `key` is its format, signature and name, `values` actual and expected."""
    label = "{} {} output {}".format(*key)
    _check_shape(label, *values)
    rows = len(values[1])
    actual, expected = (value[mask] for value in values)
    # Every comparison with a NaN is false, so a NaN would pass the checks below.
    if not np.isfinite(actual).all() or not np.isfinite(expected).all():
        raise ToleranceError(f"{label} has values that are not finite.")
    difference = np.abs(actual.astype(np.float64) - expected.astype(np.float64))
    largest = float(np.abs(expected).max(initial=0.0))
    row = ParityRow(
        *key,
        rows=rows,
        max_abs=float(difference.max(initial=0.0)),
        max_rel=float(difference.max(initial=0.0) / max(largest, 1e-12)),
        agreement=agreement(actual, expected) if expected.size else 1.0,
        rtol=tolerance.rtol,
        atol=tolerance.atol + tolerance.peak * largest,
    )
    if expected.dtype.kind == "f" and not (difference <= row.atol + row.rtol * np.abs(expected)).all():
        raise ToleranceError(
            f"{label} differs from the source model by up to {row.max_abs:.3g} (allowed: {row.atol:.3g} + "
            f"{row.rtol:g} of the value)."
        )
    return row


def _check_shape(label: str, actual: npt.NDArray[Any], expected: npt.NDArray[Any]) -> None:
    if (actual.shape, actual.dtype) != (expected.shape, expected.dtype):
        raise OutputShapeError(
            f"{label} is {actual.dtype}{list(actual.shape)}, the source model's {expected.dtype}{list(expected.shape)}."
        )
