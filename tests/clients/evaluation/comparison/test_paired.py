"""The paired bootstrap test, against the formulas and against what it is for."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from bertbundle.evaluation.bootstrap import resample
from bertbundle.evaluation.comparison.paired import differences
from bertbundle.evaluation.measurement import Measurement
from bertbundle.evaluation.reports.report import Bootstrap


class Mean(Measurement):
    """The mean of a number for each text; a second metric that is not defined for some samples; a third of its own."""

    main = "mean"

    def __init__(self, numbers: npt.NDArray[np.float64], own: str = "own") -> None:
        self.size, self._numbers, self._own = len(numbers), numbers, own

    def values(self, texts: npt.NDArray[np.intp] | None = None) -> dict[str, float]:
        """See `Measurement.values`."""
        chosen = self._numbers if texts is None else self._numbers[texts]
        return {"mean": float(chosen.mean()), "nan": math.nan, self._own: 0.0}

    def errors(self) -> npt.NDArray[np.float64]:
        """See `Measurement.errors`."""
        return 1 - self._numbers


@pytest.mark.parametrize("seed", range(5))
def test_against_the_formula(seed: int) -> None:
    """Interval and p-value are those of the differences of the means of the same samples."""
    random = np.random.default_rng(seed)
    a = random.random(50)
    b = a + random.normal(0.02, 0.1, 50)
    found = differences(Mean(a), Mean(b), Bootstrap(400, seed))["mean"]
    observed = (b - a).mean()
    samples = np.array([(b - a)[texts].mean() for texts in resample(50, 400, seed)])
    assert found.difference == pytest.approx(observed)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(samples, [2.5, 97.5])))
    assert found.p_value == pytest.approx((1 + (abs(samples - observed) >= abs(observed)).sum()) / 401)


def test_equal_models() -> None:
    """Two equal models have a difference of 0, and a p-value of 1."""
    numbers = np.random.default_rng(0).random(30)
    found = differences(Mean(numbers), Mean(numbers.copy()), Bootstrap(100))["mean"]
    assert (found.difference, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def test_a_clear_difference() -> None:
    """A difference in every text has the smallest possible p-value."""
    numbers = np.random.default_rng(0).random(200)
    found = differences(Mean(numbers), Mean(numbers + 0.5), Bootstrap(999))["mean"]
    assert found.p_value == pytest.approx(1 / 1000)


def test_level_of_the_test() -> None:
    """Of equally good models, about 5 % have a p-value below 0.05: the test keeps its level."""
    random = np.random.default_rng(1)
    values = [
        differences(Mean(random.normal(size=40)), Mean(random.normal(size=40)), Bootstrap(200, seed))["mean"].p_value
        for seed in range(200)
    ]
    assert 0.01 <= np.mean(np.array(values) < 0.05) <= 0.1  # 6 standard deviations of a share of 200 are 0.09


def test_undefined_metrics() -> None:
    """A metric that is not defined has no p-value; one that only one model has is left out."""
    found = differences(Mean(np.ones(3), "a"), Mean(np.ones(3), "b"), Bootstrap(10))
    assert found.keys() == {"mean", "nan"}
    assert math.isnan(found["nan"].difference)
    assert math.isnan(found["nan"].p_value)


def test_without_samples() -> None:
    """Without samples there is a difference, but neither interval nor p-value."""
    found = differences(Mean(np.zeros(3)), Mean(np.ones(3)), Bootstrap(0))["mean"]
    assert found.difference == 1
    assert all(map(math.isnan, (found.low, found.high, found.p_value)))
