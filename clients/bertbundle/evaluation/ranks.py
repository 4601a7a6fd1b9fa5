"""Ranks and correlations."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["average_ranks", "pearson"]

_Floats = npt.NDArray[np.float64]


def average_ranks(values: _Floats) -> _Floats:
    """Return the rank of each value from 1; equal values share the average of their ranks.

    >>> average_ranks(np.array([0.5, 0.1, 0.5])).tolist()
    [2.5, 1.0, 2.5]
    """
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: _Floats = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return ranks


def pearson(one: _Floats, other: _Floats) -> float:
    """Return Pearson's correlation coefficient; NaN if one of the inputs is constant."""
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    one, other = _unit_deviation(one), _unit_deviation(other)
    return float(np.clip(one @ other, -1.0, 1.0))


def _unit_deviation(values: _Floats) -> _Floats:
    """Return the deviations from the mean as a vector of length 1."""
    deviation = values - values.mean()
    deviation = deviation / np.abs(deviation).max()  # the squares of tiny deviations would be 0
    unit: _Floats = deviation / np.linalg.norm(deviation)
    return unit
