"""Metrics of text classification: equal to scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertbundle.data.examples import DataTask
from bertbundle.evaluation.classes import ClassMeasurement, area_under_curve
from evaluations import classes, dataset
from optional import require_package

LABELS = ("no", "perhaps", "yes")
SCORES = st.lists(st.integers(1, 20), min_size=3, max_size=3)
"""Scores before they are normalized; small numbers make ties frequent."""


def measurement(labels: tuple[str, ...], gold: list[int], scores: np.ndarray) -> ClassMeasurement:
    """Return the measurement of single-label classification from indices and scores of classes."""
    predicted = [[labels[index]] for index in scores.argmax(axis=1)]
    data = dataset((labels[index],) for index in gold)
    return ClassMeasurement(DataTask("text-classification", labels), data, classes(labels, scores.tolist(), predicted))


def normalized(rows: list[list[int]]) -> np.ndarray:
    """Return rows of scores that sum to 1."""
    return np.array([np.array(row) / sum(row) for row in rows])


@settings(max_examples=30)  # a call of the reference takes milliseconds
@given(st.lists(st.tuples(st.integers(0, 2), SCORES), min_size=1, max_size=12))
def test_single_label_equals_scikit_learn(rows: list[tuple[int, list[int]]]) -> None:
    """Accuracy, averages, the F1 of each label and the confusion matrix are those of scikit-learn."""
    metrics = require_package("sklearn.metrics")
    gold, scores = [row[0] for row in rows], normalized([row[1] for row in rows])
    found = scores.argmax(axis=1)
    measured = measurement(LABELS, gold, scores)
    values = measured.values()
    assert values["accuracy"] == pytest.approx(metrics.accuracy_score(gold, found))
    for average in ("micro", "macro", "weighted"):
        expected = metrics.precision_recall_fscore_support(gold, found, average=average, zero_division=0)[:3]
        assert [values[f"{name}_{average}"] for name in ("precision", "recall", "f1")] == pytest.approx(expected)
    per_label = metrics.f1_score(gold, found, labels=[0, 1, 2], average=None, zero_division=0)
    assert [values[f"f1[{label}]"] for label in LABELS] == pytest.approx(per_label)
    assert measured.details()["confusion"] == metrics.confusion_matrix(gold, found, labels=[0, 1, 2]).tolist()
    if len(set(gold)) == len(LABELS):
        expected = metrics.roc_auc_score(gold, scores, multi_class="ovr", average="macro")
        assert values["auc"] == pytest.approx(expected)


@settings(max_examples=30)  # a call of the reference takes milliseconds
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 10)), min_size=2, max_size=12))
def test_auc_of_two_classes_is_that_of_the_second(rows: list[tuple[int, int]]) -> None:
    """The AUC of two classes is scikit-learn's with the score of the second class, and NaN if only one occurs."""
    gold = [row[0] for row in rows]
    second = np.array([row[1] / 10 for row in rows])
    value = measurement(("no", "yes"), gold, np.stack([1 - second, second], axis=1)).values()["auc"]
    if len(set(gold)) == 1:
        assert np.isnan(value)
    else:
        assert value == pytest.approx(require_package("sklearn.metrics").roc_auc_score(gold, second))


@settings(max_examples=30)  # a call of the reference takes milliseconds
@given(st.lists(st.tuples(st.lists(st.booleans(), min_size=3, max_size=3), SCORES), min_size=1, max_size=12))
def test_multi_label_equals_scikit_learn(rows: list[tuple[list[bool], list[int]]]) -> None:
    """Subset accuracy, averages and AUC of a multi-label model are those of scikit-learn's indicator matrices."""
    metrics = require_package("sklearn.metrics")
    gold, scores = np.array([row[0] for row in rows]), np.array([row[1] for row in rows]) / 20
    found = scores >= 0.5
    names = [[label for label, chosen in zip(LABELS, row, strict=True) if chosen] for row in found]
    data = dataset(tuple(label for label, chosen in zip(LABELS, row, strict=True) if chosen) for row in gold)
    task = DataTask("text-classification", LABELS, multi_label=True)
    measured = ClassMeasurement(task, data, classes(LABELS, scores.tolist(), names))
    values = measured.values()
    assert values["accuracy"] == pytest.approx(metrics.accuracy_score(gold, found))
    for average in ("micro", "macro", "weighted"):
        assert values[f"f1_{average}"] == pytest.approx(metrics.f1_score(gold, found, average=average, zero_division=0))
    if all(len(set(column)) == 2 for column in gold.T.tolist()):
        assert values["auc"] == pytest.approx(metrics.roc_auc_score(gold, scores, average="macro"))
    assert "confusion" not in measured.details()


def test_the_example_of_roc_auc_score() -> None:
    """The example of scikit-learn's user guide on ROC: 0.75."""
    gold, scores = np.array([[False], [False], [True], [True]]), np.array([[0.1], [0.4], [0.35], [0.8]])
    assert area_under_curve(gold, scores).tolist() == [0.75]


def test_confident_mistakes_are_the_worst() -> None:
    """A correct text has no error; of two wrong ones, the one with the higher score of a wrong label is worse."""
    scores = np.array([[0.9, 0.1], [0.6, 0.4], [0.9, 0.1]])
    errors = measurement(("no", "yes"), [0, 1, 1], scores).errors().tolist()
    assert errors == pytest.approx([0, 1.6, 1.9])


def test_a_label_that_is_left_out_is_in_no_average() -> None:
    """The averages of a multi-label model are scikit-learn's over the other labels, although it predicts the one."""
    metrics = require_package("sklearn.metrics")
    scores = [[0.9, 0.1, 0.9], [0.2, 0.8, 0.9], [0.6, 0.7, 0.1]]
    predicted = [["no", "yes"], ["perhaps", "yes"], ["no", "perhaps"]]
    data = dataset([("no",), ("perhaps",), ("no",)], left_out=("yes",))
    task = DataTask("text-classification", LABELS, multi_label=True)
    values = ClassMeasurement(task, data, classes(LABELS, scores, predicted)).values()
    gold, found = [[1, 0], [0, 1], [1, 0]], [[1, 0], [0, 1], [1, 1]]
    for average in ("micro", "macro", "weighted"):
        assert values[f"f1_{average}"] == pytest.approx(metrics.f1_score(gold, found, average=average))
    assert values["accuracy"] == pytest.approx(metrics.accuracy_score(gold, found))
    assert "f1[yes]" not in values
