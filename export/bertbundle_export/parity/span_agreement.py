"""The agreement of two outputs of spans: sets of spans, of which those near the threshold may differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bertbundle_export.tasks.base import sigmoid
from bertbundle_export.tolerance import TOLERANCES

__all__ = ["same_counts", "same_spans"]

Array: TypeAlias = npt.NDArray[Any]
Spans: TypeAlias = tuple[Array, Array]
"""Spans ``[batch, k, 3]``, -1 after the last, and their scores ``[batch, k]``, best first."""

# A span whose score is within float32's tolerance of the threshold is a tie: a format may omit it, in any precision.
_TIE = TOLERANCES["float32"]


def same_spans(actual: Spans, expected: Spans, *, threshold: float, tokens: int) -> float:
    """Return the share of tokens at which the same spans start, with the same labels and ends.

    It is a share of tokens, as for labels of tokens, so that one span near the threshold of a bfloat16 or int8 format
    counts as much as one label. The order of the spans is not compared.

    Args:
        actual: the spans of a format.
        expected: the spans of the source model.
        threshold: the logit that they exceed.
        tokens: number of tokens of all rows.
    """
    limit = float(sigmoid(np.float64(threshold)))
    rows = zip(_rows(*actual, limit), _rows(*expected, limit), strict=True)
    return 1 - sum(_different_starts(*pair) for pair in rows) / max(tokens, 1)


def same_counts(counts: Array, spans: Array) -> float:
    """Return the share of rows whose count is the number of the format's own spans, or more if there is no room.

    Args:
        counts: int ``[batch]``.
        spans: ``[batch, k, 3]``; `same_spans` compares them with the source model's.
    """
    return float((np.minimum(counts, spans.shape[1]) == (spans[:, :, 0] >= 0).sum(axis=1)).mean())


_Row: TypeAlias = tuple[Mapping[tuple[int, ...], float], float]
"""The score of each span, and the score up to which the row lacks spans: more than the threshold's if it is full."""


def _rows(spans: Array, scores: Array, limit: float) -> list[_Row]:
    return [
        (
            {tuple(span): float(score) for span, score in zip(row.tolist(), values, strict=True) if span[0] >= 0},
            max(limit, float(values[-1])),
        )
        for row, values in zip(spans, scores, strict=True)
    ]


def _different_starts(actual: _Row, expected: _Row) -> int:
    """Return the number of tokens at which a span starts that only one row has, without ties."""
    return len(_missing_starts(*actual, expected[0]) | _missing_starts(*expected, actual[0]))


def _missing_starts(
    spans: Mapping[tuple[int, ...], float], limit: float, others: Mapping[tuple[int, ...], float]
) -> set[int]:
    """Return the first tokens of other spans that a row lacks, though their score is well above its limit."""
    tie = {span: 2 * (_TIE.atol + _TIE.rtol * score) for span, score in others.items()}
    return {span[1] for span, score in others.items() if span not in spans and score - limit > tie[span]}
