"""The result of a comparison, as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bertbundle.evaluation.comparison.latency import Latency
from bertbundle.evaluation.comparison.paired import Difference
from bertbundle.evaluation.reports.report import Bootstrap, without_nan

__all__ = ["ComparisonReport", "DifferentText", "Limit"]


@dataclass(frozen=True, slots=True)
class DifferentText:
    """A text about which two models disagree.

    Attributes:
        line: where it is in the data file.
        text: the text, or the texts of a pair.
        a, b: the results, JSON-serializable.
        expected: the label of the data; None without labels.
        errors: how wrong each result is; None without labels.
    """

    line: int
    text: Any
    a: Any
    b: Any
    expected: Any = None
    errors: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """A condition of the comparison.

    Attributes:
        name: the flag that sets it.
        limit: its value.
        value: what was measured.
        passed: whether it holds.
    """

    name: str
    limit: float
    value: float
    passed: bool


@dataclass(frozen=True, slots=True)
class ComparisonReport:
    """A comparison of two models, A and B, on one data file.

    Attributes:
        task: name of the task.
        models: name, version, precision, ... of A and B.
        data: file, number of texts, what the line of a text counts, how long texts and tags were read.
        notes: what the reader should know, each one sentence.
        agreed: number of texts with results that agree.
        spans: for tasks with entities, their number in both models, in A only and in B only; else empty.
        main: name of the metric that stands for the quality; "" without labels.
        metrics: the metrics of both models by name; empty without labels.
        bootstrap: how intervals and p-values were computed.
        latencies: of A and B; empty if they were not measured.
        limits: the conditions.
        differences: texts with different results, those with the largest difference of errors first.
    """

    task: str
    models: Sequence[Mapping[str, Any]]
    data: Mapping[str, Any]
    notes: Sequence[str]
    agreed: int
    spans: Mapping[str, int]
    main: str
    metrics: Mapping[str, Difference]
    bootstrap: Bootstrap
    latencies: Sequence[Latency]
    differences: Sequence[DifferentText]
    limits: Sequence[Limit] = field(default_factory=list)

    @property
    def agreement(self) -> float:
        """The share of the texts with results that agree."""
        return self.agreed / int(self.data["texts"])

    @property
    def passed(self) -> bool:
        """Whether all conditions hold."""
        return all(limit.passed for limit in self.limits)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a JSON-serializable dict; a number that is not defined is None."""
        result = asdict(self)
        models = result.pop("models")
        latencies = result.pop("latencies") or [None, None]
        agreement = {"agreed": result.pop("agreed"), "share": self.agreement, "spans": result.pop("spans") or None}
        cleaned: dict[str, Any] = without_nan(
            {
                "a": {**models[0], "latency_ms": latencies[0]},
                "b": {**models[1], "latency_ms": latencies[1]},
                "agreement": agreement,
                **result,
                "passed": self.passed,
            }
        )
        return cleaned
