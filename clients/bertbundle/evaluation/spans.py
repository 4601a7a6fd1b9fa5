"""Metrics of entities: precision, recall and F1 of spans, which are correct if label, start and end are.

Equal to seqeval 1.2.2: its default mode if tags are read leniently, its strict mode if they are read strictly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.data.examples import Dataset, DataTask, Span
from bertbundle.evaluation.measurement import Indices, LabelCounts, Measurement
from bertbundle.evaluation.observations import Observation

__all__ = ["SpanMeasurement", "predicted_spans"]


def predicted_spans(observation: Observation, left_out: Sequence[str] = ()) -> tuple[Span, ...]:
    """Return the entities of a result as spans, without labels that are left out."""
    entities = observation.result
    return tuple(Span(item.label, item.start, item.end) for item in entities if item.label not in left_out)


class SpanMeasurement(Measurement):
    """Precision, recall and F1 of spans. The micro average counts spans, the macro average labels."""

    main = "f1_micro"

    def __init__(self, task: DataTask, dataset: Dataset, observations: Sequence[Observation]) -> None:
        """Compare the spans of each text; see `observe`."""
        del task
        found = [predicted_spans(observation, dataset.left_out) for observation in observations]
        gold = [example.gold for example in dataset.examples]
        self.size = len(gold)
        labels = sorted({span.label for spans in (*gold, *found) for span in spans})
        self._counts = LabelCounts(labels, zip(gold, found, strict=True))

    def values(self, texts: Indices | None = None) -> dict[str, float]:
        """See `Measurement.values`."""
        return self._counts.values(texts)

    def errors(self) -> npt.NDArray[np.float64]:
        """Return the number of wrong and missing spans of each text."""
        return self._counts.errors()

    def details(self) -> dict[str, Any]:
        """Return the figures of each label."""
        return {"labels": self._counts.table()}
