"""Data sets and results of a model, to compare metrics with those of other packages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bertbundle.contract.labels import parse_labels
from bertbundle.contract.types import Answer, Classification, Entity
from bertbundle.data.examples import Dataset, DataTask, Example, Span
from bertbundle.data.places import Places
from bertbundle.data.tags import lenient_spans, strict_spans
from bertbundle.evaluation.observations import Observation

__all__ = ["answers", "classes", "dataset", "entity_observations", "measured_spans", "observation", "tagged"]


def observation(result: Any, **changes: Any) -> Observation:
    """Return a model's result for a text of three tokens."""
    return Observation(result, **{"version": 1, "lengths": (3,), "unknown": 0, "too_long": False, **changes})


def dataset(golds: Iterable[Any], texts: Sequence[Any] | None = None, **options: Any) -> Dataset:
    """Return a data set with these labels."""
    found = list(golds)
    shown = texts or [f"text {index}" for index in range(len(found))]
    examples = [Example(text, gold, line) for line, (text, gold) in enumerate(zip(shown, found, strict=True), start=1)]
    return Dataset(Places("data.jsonl"), tuple(examples), **options)


def tagged(tags: Sequence[str], strict: str | None = None) -> tuple[Span, ...]:
    """Return the spans of the tags of a text whose tokens are characters."""
    parsed = parse_labels(tags, strict or "BIOES")
    spans = lenient_spans(parsed) if strict is None else strict_spans(parsed, strict)
    return tuple(Span(*span) for span in spans)


def entity_observations(spans: Iterable[Iterable[Span]], score: float = 0.5) -> list[Observation]:
    """Return a model's results with these entities."""
    return [observation([Entity(*span[:1], "", *span[1:], score) for span in of_text]) for of_text in spans]


def measured_spans(gold: Iterable[tuple[Span, ...]], found: Iterable[Iterable[Span]]) -> Any:
    """Return the measurement of entities."""
    from bertbundle.evaluation.spans import SpanMeasurement

    return SpanMeasurement(DataTask("token-classification"), dataset(gold), entity_observations(found))


def classes(labels: Sequence[str], scores: Sequence[Sequence[float]], predicted: Iterable[Sequence[str]]) -> Any:
    """Return a model's classifications with the scores of all labels."""
    rows = [sorted(zip(labels, row, strict=True), key=lambda pair: -pair[1]) for row in scores]
    return [
        observation(Classification(ranked[0][0], ranked[0][1], tuple(names), dict(ranked)))
        for ranked, names in zip(rows, predicted, strict=True)
    ]


def answers(texts: Iterable[str]) -> list[Observation]:
    """Return a model's answers with these texts."""
    return [observation(Answer(text, 0, len(text), 0.5)) for text in texts]
