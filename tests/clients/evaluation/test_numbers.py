"""Metrics of numbers: equal to scipy and scikit-learn."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertbundle.data.examples import DataTask
from bertbundle.evaluation.numbers import NumberMeasurement
from evaluations import dataset, observation
from optional import require_package

NUMBERS = st.integers(-50, 50).map(lambda value: value / 10)
"""Few different numbers, so that ties are frequent."""


def values(gold: list[float], found: list[float], task: str = "regression") -> dict[str, float]:
    """Return the metrics of numbers."""
    return NumberMeasurement(DataTask(task), dataset(gold), [observation(value) for value in found]).values()


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=20))
def test_values_equal_those_of_scipy(rows: list[tuple[float, float]]) -> None:
    """Pearson's and Spearman's correlation are scipy's, NaN for constant input; RMSE is scikit-learn's."""
    stats, metrics = require_package("scipy.stats"), require_package("sklearn.metrics")
    gold, found = ([row[side] for row in rows] for side in (0, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        expected = {
            "pearson": stats.pearsonr(gold, found).statistic,
            "spearman": stats.spearmanr(gold, found).statistic,
            "rmse": metrics.root_mean_squared_error(gold, found),
        }
    assert values(gold, found) == pytest.approx(expected, nan_ok=True, abs=1e-12)


def test_the_examples_of_scipy() -> None:
    """The examples in the documentation of pearsonr and spearmanr of scipy 1.17."""
    assert values([1, 2, 3, 4, 5, 6, 7], [10, 9, 2.5, 6, 4, 3, 2])["pearson"] == pytest.approx(-0.828503883588428)
    assert values([1, 2, 3, 4, 5], [5, 6, 7, 8, 7])["spearman"] == pytest.approx(0.8207826816681233)


def test_similarities_have_no_rmse() -> None:
    """The scale of expected similarities may be any, so cosines have only correlations."""
    assert set(values([0, 5, 3], [0.1, 0.9, 0.5], "feature-extraction")) == {"pearson", "spearman"}


def test_tiny_differences_do_not_underflow() -> None:
    """The correlation of numbers whose squares are 0 in float64 is still that of scipy."""
    gold, found = [1e-200, 2e-200, 3e-200], [1.0, 2.0, 4.0]
    assert values(gold, found)["pearson"] == pytest.approx(np.corrcoef([1, 2, 3], found)[0, 1])
    assert math.isnan(values([1, 1], [1, 2])["pearson"])
