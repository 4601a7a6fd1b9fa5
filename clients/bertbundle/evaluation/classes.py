"""Metrics of text classification, equal to those of scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.data.examples import Dataset, DataTask
from bertbundle.evaluation.measurement import Indices, LabelCounts, Measurement
from bertbundle.evaluation.observations import Observation
from bertbundle.evaluation.ranks import average_ranks

__all__ = ["ClassMeasurement", "area_under_curve"]

_Floats = npt.NDArray[np.float64]


class ClassMeasurement(Measurement):
    """Accuracy, F1, AUC and the confusion matrix of single-label or multi-label classification.

    Accuracy of a multi-label model is the share of texts whose labels are all correct (`accuracy_score` of
    scikit-learn). The AUC of two classes is that of the second one; of more classes, the average over one class against
    the rest, without classes that no text or every text has.
    """

    def __init__(self, task: DataTask, dataset: Dataset, observations: Sequence[Observation]) -> None:
        """Compare the classes of each text; see `observe`."""
        results = [observation.result for observation in observations]
        self.main = "f1_micro" if task.multi_label else "accuracy"
        self.size = len(results)
        ignored = dataset.left_out if task.multi_label else ()
        self._labels = [label for label in task.labels if label not in ignored]
        self._multi_label = task.multi_label
        gold = [[(label,) for label in example.gold] for example in dataset.examples]
        found = [[(label,) for label in result.labels if label not in ignored] for result in results]
        self._counts = LabelCounts(self._labels, zip(gold, found, strict=True), all_labels=task.multi_label)
        self._scores = np.array([[result.scores[label] for label in self._labels] for result in results], np.float64)
        self._correct = (self._counts.errors() == 0).astype(np.float64)

    def values(self, texts: Indices | None = None) -> dict[str, float]:
        """See `Measurement.values`."""
        chosen = np.arange(self.size) if texts is None else texts
        areas = area_under_curve(self._gold()[chosen], self._scores[chosen])
        binary = len(self._labels) == 2 and not self._multi_label
        defined = areas[1:] if binary else areas[~np.isnan(areas)]
        return {
            "accuracy": float(self._correct[chosen].mean()),
            **self._counts.values(texts),
            "auc": float(defined.mean()) if len(defined) else float("nan"),
        }

    def errors(self) -> _Floats:
        """Return 0 for a correct text, else 1 plus the highest score of a wrong label."""
        wrong = np.where(self._gold(), 0.0, self._scores).max(axis=1)
        errors: _Floats = (1 - self._correct) * (1 + wrong)
        return errors

    def details(self) -> dict[str, Any]:
        """Return the figures of each label, and the confusion matrix: a row for each gold label."""
        areas = area_under_curve(self._gold(), self._scores)
        table = [
            {**row, "auc": None if np.isnan(area) else float(area)}
            for row, area in zip(self._counts.table(), areas, strict=True)
        ]
        return {"labels": table} | ({} if self._multi_label else {"confusion": self._confusion().tolist()})

    def _gold(self) -> npt.NDArray[np.bool_]:
        return self._counts.rows[:, :, 2] > 0

    def _confusion(self) -> npt.NDArray[np.intp]:
        gold, found = (self._counts.rows[:, :, column].argmax(axis=1) for column in (2, 1))
        matrix = np.zeros((len(self._labels),) * 2, np.intp)
        np.add.at(matrix, (gold, found), 1)
        return matrix


def area_under_curve(gold: npt.NDArray[np.bool_], scores: _Floats) -> _Floats:
    """Return the area under the ROC curve of each column; NaN if its labels are all equal.

    Args:
        gold: whether each text has each label, ``[texts, labels]``.
        scores: the score of each label for each text, ``[texts, labels]``.

    Source: the area is the Mann-Whitney statistic U divided by the number of pairs (Hanley and McNeil, 1982).
    """
    ranks = np.stack([average_ranks(column) for column in scores.T], axis=1)
    positive = gold.sum(axis=0).astype(np.float64)
    pairs = positive * (len(gold) - positive)
    wins = (ranks * gold).sum(axis=0) - positive * (positive + 1) / 2
    areas: _Floats = np.divide(wins, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
    return areas
