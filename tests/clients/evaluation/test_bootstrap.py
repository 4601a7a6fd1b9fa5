"""Confidence intervals: equal to scipy's percentile bootstrap."""

from __future__ import annotations

import numpy as np
import pytest

from bertbundle.data.examples import DataTask, Span
from bertbundle.evaluation.bootstrap import confidence_intervals, resample
from bertbundle.evaluation.numbers import NumberMeasurement
from evaluations import dataset, measured_spans, observation
from optional import require_package


def test_intervals_equal_those_of_scipy() -> None:
    """With the same seed, the ends are those of scipy.stats.bootstrap with method="percentile"."""
    stats = require_package("scipy.stats")
    random = np.random.default_rng(7)
    gold = random.normal(size=40)
    found = gold + random.normal(size=40)
    measured = NumberMeasurement(
        DataTask("regression"), dataset(gold.tolist()), [observation(value) for value in found]
    )
    low, high = confidence_intervals(measured, resamples=500, seed=3, level=0.9)["pearson"]
    # One sample after another, as ours are drawn: scipy draws `batch` samples at a time.
    expected = stats.bootstrap(
        (np.arange(40),),
        lambda texts: np.corrcoef(gold[texts], found[texts])[0, 1],
        n_resamples=500,
        batch=1,
        vectorized=False,
        confidence_level=0.9,
        method="percentile",
        rng=np.random.default_rng(3),
    ).confidence_interval
    assert (low, high) == pytest.approx((expected.low, expected.high))


def test_samples_depend_on_the_seed_only() -> None:
    """Equal seeds give equal samples, so that two models are compared on the same ones; others differ."""
    first, again, other = (np.stack(list(resample(30, 5, seed))) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
    assert first.shape == (5, 30)
    assert set(first.ravel().tolist()) <= set(range(30))


def test_sampled_values_are_those_of_the_sampled_texts() -> None:
    """The values of a sample are those of a data set in which each text occurs as often as in the sample."""
    gold = [(Span("PER", 0, 2),), (Span("LOC", 0, 2),), ()]
    found = [(Span("PER", 0, 2),), (Span("PER", 0, 2),), (Span("LOC", 1, 2),)]
    texts = np.array([1, 1, 2, 1])
    sampled = measured_spans(gold, found).values(texts)
    repeated = measured_spans([gold[index] for index in texts], [found[index] for index in texts]).values()
    assert sampled == pytest.approx(repeated)


def test_rare_label_has_an_interval() -> None:
    """Samples without a label do not count for its F1: a label that is always right has no end at 0."""
    gold = [(Span("PER", 0, 2),), *[(Span("LOC", 0, 2),)] * 9]
    measured = measured_spans(gold, gold)
    intervals = confidence_intervals(measured, resamples=200, seed=0)
    assert intervals["f1[PER]"] == intervals["f1[LOC]"] == (1.0, 1.0)
    assert any(np.isnan(measured.values(texts)["f1[PER]"]) for texts in resample(10, 200, 0))


def test_metric_that_is_never_defined_has_no_interval() -> None:
    """A correlation with constant numbers is NaN, and so are its ends; the other metrics have theirs."""
    measured = NumberMeasurement(DataTask("regression"), dataset([1, 2]), [observation(0.5)] * 2)
    intervals = confidence_intervals(measured, resamples=20, seed=0)
    assert np.isnan(intervals["pearson"]).all()
    assert not np.isnan(intervals["rmse"]).any()
