"""The result of an evaluation, as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bertbundle.evaluation.reports.mistakes import Mistake
from bertbundle.evaluation.reports.profile import Drift, Profile

__all__ = ["Bootstrap", "Metric", "Report", "without_nan"]


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """The settings of the confidence intervals; see `confidence_intervals`."""

    resamples: int = 1000
    seed: int = 0
    level: float = 0.95


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric and the ends of its confidence interval; NaN where it is not defined."""

    value: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True, slots=True)
class Report:
    """An evaluation of one model on one data file.

    Attributes:
        model: name, version, task and head of the model.
        data: file, number of texts, what the line of a mistake counts, how tokens, long texts and tags were read.
        notes: what the reader of the report should know, each one sentence.
        profile: texts and results without regard to labels.
        main: name of the metric that stands for the model's quality; "" without labels.
        metrics: the metrics by name; empty without labels.
        details: further figures of the task: of each label, the confusion matrix.
        bootstrap: how the intervals were computed.
        mistakes: the texts with the worst results.
        drift: how much the profile differs from that of a baseline.
    """

    model: Mapping[str, Any]
    data: Mapping[str, Any]
    notes: Sequence[str]
    profile: Profile
    main: str = ""
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    bootstrap: Bootstrap = field(default_factory=Bootstrap)
    mistakes: Sequence[Mistake] = ()
    drift: Sequence[Drift] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a JSON-serializable dict; a number that is not defined is None."""
        result = {
            "model": self.model,
            "data": self.data,
            "notes": list(self.notes),
            "main": self.main,
            "metrics": {name: asdict(metric) for name, metric in self.metrics.items()},
            **self.details,
            "interval": {"method": "bootstrap over texts, percentiles", **asdict(self.bootstrap)},
            "profile": self.profile.to_dict(),
            "drift": [asdict(drift) for drift in self.drift],
            "mistakes": [mistake.to_dict() for mistake in self.mistakes],
        }
        cleaned: dict[str, Any] = without_nan(result)
        return cleaned


def without_nan(value: Any) -> Any:
    """Return a JSON value with None in place of numbers that are not finite."""
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
