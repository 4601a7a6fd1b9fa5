"""The measurement of each task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bertbundle.data.examples import Dataset, DataTask
from bertbundle.evaluation.answers import AnswerMeasurement
from bertbundle.evaluation.classes import ClassMeasurement
from bertbundle.evaluation.masks import MaskMeasurement
from bertbundle.evaluation.measurement import Measurement
from bertbundle.evaluation.numbers import NumberMeasurement
from bertbundle.evaluation.observations import Observation
from bertbundle.evaluation.spans import SpanMeasurement

__all__ = ["measure"]

_MEASUREMENTS: Mapping[str, Callable[[DataTask, Dataset, Sequence[Observation]], Measurement]] = {
    "token-classification": SpanMeasurement,
    "span-classification": SpanMeasurement,
    "text-classification": ClassMeasurement,
    "regression": NumberMeasurement,
    "feature-extraction": NumberMeasurement,
    "question-answering": AnswerMeasurement,
    "fill-mask": MaskMeasurement,
}


def measure(task: DataTask, dataset: Dataset, observations: Sequence[Observation]) -> Measurement:
    """Return the metrics of a model's results.

    Args:
        task: what the model takes; see `data_task`.
        dataset: texts with labels.
        observations: the result of each text, from `observe`.
    """
    return _MEASUREMENTS[task.name](task, dataset, observations)
