"""The texts with the worst results, with what was expected and what was found."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bertbundle.contract.types import Classification
from bertbundle.data.examples import Dataset, DataTask, Example
from bertbundle.evaluation.measurement import Measurement
from bertbundle.evaluation.observations import Observation

__all__ = ["Mistake", "describe_expected", "describe_found", "worst_mistakes"]

_SHOWN_TOKENS = 5


@dataclass(frozen=True, slots=True)
class Mistake:
    """A text whose result is wrong.

    Attributes:
        line: where it is in the data file.
        text: the text, or the texts of a pair.
        expected: spans, labels, a number, answers or tokens, JSON-serializable.
        found: likewise, with scores where the model returns some.
        error: how wrong it is; see `Measurement.errors`.
    """

    line: int
    text: Any
    expected: Any
    found: Any
    error: float

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-serializable dict."""
        return asdict(self)


def worst_mistakes(
    task: DataTask, dataset: Dataset, observations: Sequence[Observation], measurement: Measurement, count: int
) -> list[Mistake]:
    """Return at most `count` texts whose results are wrong, the worst first."""
    errors = measurement.errors()
    order = np.argsort(-errors, kind="stable")[:count]
    expected, found = _DESCRIPTIONS[task.name]
    if dataset.left_out and (task.multi_label or expected is _spans):  # as in the metrics
        found = functools.partial(_describe_kept, found, dataset.left_out)
    return [
        _mistake(dataset.examples[index], observations[index], float(errors[index]), expected, found)
        for index in order
        if errors[index] > 0
    ]


def describe_expected(task: str, gold: Any) -> Any:
    """Return the label of a text as a JSON value."""
    return _DESCRIPTIONS[task][0](gold)


def describe_found(task: str, result: Any) -> Any:
    """Return a result as a JSON value."""
    return _DESCRIPTIONS[task][1](result)


def _describe_kept(found: Callable[[Any], Any], left_out: Sequence[str], result: Any) -> Any:
    """Return a result as a JSON value, without labels that are left out."""
    described = found(result)
    if isinstance(described, dict):
        return {label: score for label, score in described.items() if label not in left_out}
    return [span for span in described if span["label"] not in left_out]


def _mistake(
    example: Example,
    observation: Observation,
    error: float,
    expected: Callable[[Any], Any],
    found: Callable[[Any], Any],
) -> Mistake:
    shown = list(example.shown) if isinstance(example.shown, tuple) else example.shown
    return Mistake(example.line, shown, expected(example.gold), found(observation.result), error)


def _spans(items: Sequence[Any]) -> list[dict[str, Any]]:
    names = ("label", "start", "end", "score")
    return [{name: getattr(item, name) for name in names if hasattr(item, name)} for item in items]


def _labels(result: Classification) -> dict[str, float]:
    return {label: result.scores[label] for label in result.labels}


def _tokens(masks: Sequence[Sequence[Any]]) -> list[list[str]]:
    return [[fill.token for fill in fills[:_SHOWN_TOKENS]] for fills in masks]


_DESCRIPTIONS: Mapping[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "token-classification": (_spans, _spans),
    "span-classification": (_spans, _spans),
    "text-classification": (list, _labels),
    "regression": (float, float),
    "feature-extraction": (float, float),
    "question-answering": (list, lambda answer: answer.to_dict()),
    "fill-mask": (list, _tokens),
}
"""How to describe what is expected, and what was found."""
