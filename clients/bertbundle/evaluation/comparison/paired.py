"""The difference of two models' metrics on the same texts, with a paired bootstrap test.

Source: Berg-Kirkpatrick, Burkett and Klein, "An Empirical Investigation of Statistical Significance in NLP", 2012;
Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 16. The p-value is two-sided: the share of
samples whose difference is at least as far from the observed one as the observed one is from 0, where the observed one
counts as a sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bertbundle.evaluation.bootstrap import resample
from bertbundle.evaluation.measurement import Measurement
from bertbundle.evaluation.reports.report import Bootstrap

__all__ = ["Difference", "differences"]

_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Difference:
    """A metric of two models.

    Attributes:
        a, b: its values.
        difference: `b` minus `a`.
        low, high: the ends of the interval of the difference; NaN without samples.
        p_value: the probability of a difference at least as large if the models were equally good; NaN without samples.
    """

    a: float
    b: float
    difference: float
    low: float = math.nan
    high: float = math.nan
    p_value: float = math.nan


def differences(a: Measurement, b: Measurement, bootstrap: Bootstrap) -> dict[str, Difference]:
    """Return the metrics that both models have, by name."""
    values = a.values(), b.values()
    names = [name for name in values[0] if name in values[1]]
    samples = [
        [_subtract(one[name], other[name]) for name in names]
        for texts in resample(a.size, bootstrap.resamples, bootstrap.seed)
        for one, other in [(a.values(texts), b.values(texts))]
    ]
    columns = np.array(samples, np.float64).reshape(len(samples), len(names)).T
    return {
        name: _difference(values[0][name], values[1][name], column, bootstrap.level)
        for name, column in zip(names, columns, strict=True)
    }


def _subtract(a: float, b: float) -> float:
    return b - a


def _difference(
    a: float, b: float, samples: np.ndarray[tuple[int, ...], np.dtype[np.float64]], level: float
) -> Difference:
    observed = b - a
    defined = samples[~np.isnan(samples)]
    if not len(defined) or math.isnan(observed):
        return Difference(a, b, observed)
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    as_far = np.count_nonzero(np.abs(defined - observed) >= abs(observed) - _ROUNDING)
    return Difference(a, b, observed, float(low), float(high), (1 + as_far) / (1 + len(defined)))
