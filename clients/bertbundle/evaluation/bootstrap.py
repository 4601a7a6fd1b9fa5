"""Confidence intervals by the bootstrap: metrics of samples of the texts, drawn with replacement.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentile intervals).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bertbundle.evaluation.measurement import Indices, Measurement

__all__ = ["confidence_intervals", "resample"]


def resample(size: int, count: int, seed: int) -> Iterator[Indices]:
    """Yield the indices of `count` samples of `size` texts, drawn with replacement; equal for an equal seed.

    Two models that are compared on the same texts use the same samples (the paired bootstrap).
    """
    random = np.random.default_rng(seed)
    for _ in range(count):
        yield random.integers(0, size, size)


def confidence_intervals(
    measurement: Measurement, *, resamples: int, seed: int, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Return the lower and upper end of the percentile interval of each metric.

    Samples for which a metric is not defined do not count; if there is none for which it is, its ends are NaN.

    Args:
        measurement: the metrics.
        resamples: number of samples; at least 1.
        seed: seed of the random numbers.
        level: probability of the interval, in (0, 1).
    """
    samples = [measurement.values(texts) for texts in resample(measurement.size, resamples, seed)]
    tails = [(1 - level) / 2, (1 + level) / 2]
    intervals = {}
    for name in samples[0]:
        values = np.array([sample[name] for sample in samples])
        defined = values[~np.isnan(values)]
        low, high = np.quantile(defined, tails) if len(defined) else (np.nan, np.nan)
        intervals[name] = (float(low), float(high))
    return intervals
