"""Metrics of numbers: regression, and the cosine similarity of embeddings. Equal to those of scipy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bertbundle.data.examples import Dataset, DataTask
from bertbundle.evaluation.measurement import Indices, Measurement
from bertbundle.evaluation.observations import Observation
from bertbundle.evaluation.ranks import average_ranks, pearson

__all__ = ["NumberMeasurement"]


class NumberMeasurement(Measurement):
    """Pearson's and Spearman's correlation with the expected numbers; for regression, the root mean square error.

    The main metric is Spearman's correlation for similarities, whose scale is not that of the expected numbers, and
    Pearson's for regression.
    """

    def __init__(self, task: DataTask, dataset: Dataset, observations: Sequence[Observation]) -> None:
        """Compare the number of each text; see `observe`."""
        self._similarity = task.name == "feature-extraction"
        self.main = "spearman" if self._similarity else "pearson"
        self.size = len(observations)
        self._gold = np.array([example.gold for example in dataset.examples], np.float64)
        self._found = np.array([observation.result for observation in observations], np.float64)

    def values(self, texts: Indices | None = None) -> dict[str, float]:
        """See `Measurement.values`."""
        chosen = np.arange(self.size) if texts is None else texts
        gold, found = self._gold[chosen], self._found[chosen]
        values = {
            "pearson": pearson(gold, found),
            "spearman": pearson(average_ranks(gold), average_ranks(found)),
        }
        return values if self._similarity else values | {"rmse": float(np.sqrt(np.mean((gold - found) ** 2)))}

    def errors(self) -> npt.NDArray[np.float64]:
        """Return the distance between gold and result of each text; for similarities, between their ranks."""
        if self._similarity:
            return np.abs(average_ranks(self._gold) - average_ranks(self._found))
        return np.abs(self._gold - self._found)
