"""Whether two models' results for one text agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bertbundle.contract.types import Answer, Classification, Entity, Fill

__all__ = ["MIN_COSINE", "RELATIVE_TOLERANCE", "agree"]

MIN_COSINE = 0.99
"""The least cosine of embeddings that agree."""
RELATIVE_TOLERANCE = 0.01
"""The largest difference of numbers that agree, as a share of the larger one, and at least of 1."""


def agree(one: Any, other: Any) -> bool:
    """Return whether two results of the same method for the same text agree. Scores do not count.

    Entities agree in number, label, start and end; classifications in the predicted labels; answers in start and end;
    fills in the best token of each mask; embeddings by `MIN_COSINE`, numbers by `RELATIVE_TOLERANCE`; results of
    several heads, or of a pipeline, in all their parts.

    >>> agree([Entity("PER", "Wang", 0, 4, 0.5)], [Entity("PER", "Wang", 0, 4, 0.75)])
    True
    """
    rule = next((rule for types, rule in _RULES.items() if isinstance(one, types)), None)
    if rule is None or not isinstance(other, type(one)):
        return type(one) is type(other) and (isinstance(one, Exception) or bool(one == other))
    return rule(one, other)


def _lists(one: Any, other: Any) -> bool:
    if one and other and isinstance(one[0], Fill):  # the tokens for one mask, best first
        one, other = one[:1], other[:1]
    return len(one) == len(other) and all(map(agree, one, other))


def _mappings(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one.keys() == other.keys() and all(agree(one[key], other[key]) for key in one if key != "score")


def _numbers(one: float, other: float) -> bool:
    return bool(abs(one - other) <= RELATIVE_TOLERANCE * max(1.0, abs(one), abs(other)))


def _arrays(one: Any, other: Any) -> bool:
    if one.shape != other.shape:
        return False
    norms = np.linalg.norm(one) * np.linalg.norm(other)
    return bool(np.sum(one * other) >= MIN_COSINE * norms)


_RULES: Mapping[Any, Callable[[Any, Any], bool]] = {
    Entity: lambda a, b: (a.label, a.start, a.end) == (b.label, b.start, b.end),
    Classification: lambda a, b: set(a.labels) == set(b.labels),
    Answer: lambda a, b: (a.text, a.start, a.end) == (b.text, b.start, b.end),
    Fill: lambda a, b: a.token == b.token,
    (list, tuple): _lists,
    dict: _mappings,
    (float, np.floating): _numbers,
    np.ndarray: _arrays,
}
"""By the type of a result: whether two of them agree."""
