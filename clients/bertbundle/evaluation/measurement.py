"""The metrics of one task on one data set, of all texts or of a sample of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Indices", "LabelCounts", "Measurement", "sum_rows"]

Indices: TypeAlias = npt.NDArray[np.intp]
_Floats: TypeAlias = npt.NDArray[np.float64]


class Measurement(ABC):
    """The metrics of a model's results.

    Attributes:
        main: name of the metric that stands for the model's quality; a larger value is better.
        size: number of texts.
    """

    main: str
    size: int

    @abstractmethod
    def values(self, texts: Indices | None = None) -> dict[str, float]:
        """Return the metrics by name; NaN for one that is not defined.

        Args:
            texts: indices of the texts to use, in which a text may occur several times; None for all.
        """

    @abstractmethod
    def errors(self) -> _Floats:
        """Return how wrong the result of each text is, as an array ``[size]``; 0 if it is right."""

    def details(self) -> dict[str, Any]:
        """Return further JSON-serializable figures of all texts."""
        return {}


def sum_rows(rows: _Floats, texts: Indices | None) -> _Floats:
    """Return the sum of the rows of some texts, where a text may occur several times; None for all rows."""
    if texts is None:
        total: _Floats = rows.sum(axis=0)
        return total
    weights = np.bincount(texts, minlength=len(rows)).astype(np.float64)
    weighted: _Floats = np.tensordot(weights, rows, axes=1)
    return weighted


class LabelCounts:
    """Correct, predicted and expected items of each label in each text: precision, recall and F1.

    A quotient whose denominator is 0 is 0, as by default in scikit-learn and seqeval.

    Attributes:
        labels: the labels.
        rows: an array ``[texts, labels, 3]`` of the numbers of correct, predicted and expected items.
    """

    def __init__(
        self, labels: Sequence[str], items: Iterable[tuple[Iterable[Any], Iterable[Any]]], *, all_labels: bool = False
    ) -> None:
        """Count the items of each text.

        Args:
            labels: the labels.
            items: the expected and the predicted items of each text, without duplicates; each is a tuple that begins
                with its label. An item is correct if it is in both.
            all_labels: whether averages include labels that are neither expected nor predicted.
        """
        self.labels = list(labels)
        self._all_labels = all_labels
        indices = {label: index for index, label in enumerate(labels)}
        pairs = [(set(gold), set(predicted)) for gold, predicted in items]
        self.rows = np.zeros((len(pairs), len(self.labels), 3))
        for row, (gold, predicted) in zip(self.rows, pairs, strict=True):
            for column, found in enumerate((gold & predicted, predicted, gold)):
                for item in found:
                    row[indices[item[0]], column] += 1

    def values(self, texts: Indices | None = None) -> dict[str, float]:
        """Return precision, recall and F1: micro, macro and weighted averages, and the F1 of each label.

        In a sample that has no item of a label, its F1 is NaN, so that rare labels have intervals.
        """
        counts = sum_rows(self.rows, texts)
        per_label = _scores(counts)
        occurs = counts[:, 1:].any(axis=1)
        used = np.ones(len(counts), bool) if self._all_labels else occurs
        support = counts[:, 2]
        averages = {
            "micro": _scores(counts.sum(axis=0)),
            "macro": per_label[used].mean(axis=0) if used.any() else np.zeros(3),
            "weighted": support @ per_label / support.sum() if support.any() else np.zeros(3),
        }
        values = {
            f"{name}_{average}": float(value)
            for average, scores in averages.items()
            for name, value in zip(_NAMES, scores, strict=True)
        }
        f1 = per_label[:, 2] if texts is None else np.where(occurs, per_label[:, 2], np.nan)
        return values | {f"f1[{label}]": float(value) for label, value in zip(self.labels, f1, strict=True)}

    def table(self) -> list[dict[str, Any]]:
        """Return precision, recall, F1 and the numbers of correct, predicted and expected items of each label."""
        counts = sum_rows(self.rows, None)
        return [
            {
                "label": label,
                **dict(zip(_NAMES, map(float, scores), strict=True)),
                **dict(zip(_COUNTS, map(int, numbers), strict=True)),
            }
            for label, scores, numbers in zip(self.labels, _scores(counts), counts, strict=True)
        ]

    def errors(self) -> _Floats:
        """Return the number of wrong and missing items of each text."""
        correct, predicted, gold = self.rows.sum(axis=1).T
        wrong: _Floats = predicted + gold - 2 * correct
        return wrong


_NAMES = ("precision", "recall", "f1")
_COUNTS = ("correct", "predicted", "expected")


def _scores(counts: _Floats) -> _Floats:
    """Return precision, recall and F1 from the numbers of correct, predicted and expected items, in the last axis."""
    correct, predicted, gold = np.moveaxis(counts, -1, 0)
    return np.stack(
        [_quotient(correct, predicted), _quotient(correct, gold), _quotient(2 * correct, predicted + gold)], axis=-1
    )


def _quotient(numerator: _Floats, denominator: _Floats) -> _Floats:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
