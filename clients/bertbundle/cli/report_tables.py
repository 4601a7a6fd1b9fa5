"""The report of an evaluation as tables for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from bertbundle.cli.formatting import format_table
from bertbundle.evaluation.reports.profile import Profile
from bertbundle.evaluation.reports.report import Metric, Report

__all__ = ["report_lines"]

_MAX_CONFUSION = 12
"""The confusion matrix of more classes does not fit a terminal; --json and --html have it."""
_BAR = 30
_AVERAGES = ("micro", "macro", "weighted")


def report_lines(report: Report) -> Iterator[str]:
    """Yield the lines of a report for a terminal."""
    model, data = report.model, report.data
    head = f", head {model['head']}" if model["head"] else ""
    yield f"{model['name']}, version {model['version']}{head}, {model['task']}: {data['texts']} texts of {data['path']}"
    yield from report.notes
    yield ""
    if report.metrics:
        yield from _metric_lines(report)
        yield ""
    if "confusion" in report.details:
        yield from _confusion_lines(report.model["classes"], report.details["confusion"])
    if not report.metrics or report.drift:
        yield from _profile_lines(report.profile)
    if report.drift:
        yield from _drift_lines(report)


def _metric_lines(report: Report) -> Iterator[str]:
    labels = report.details.get("labels", ())
    overall = {name: metric for name, metric in report.metrics.items() if not (labels and _is_of_labels(name))}
    if overall:
        yield from format_table(("metric", "value", _interval_name(report)), _metric_rows(overall))
    if labels:
        yield from ([""] if overall else [])
        yield from _label_table(report, labels)
    if report.bootstrap.resamples:
        yield ""
        yield (
            f"intervals: bootstrap over texts, percentiles of {report.bootstrap.resamples} samples, seed "
            f"{report.bootstrap.seed}"
        )


def _is_of_labels(name: str) -> bool:
    """Return whether the table of labels has a metric: an average of precision, recall or F1, or the F1 of a label."""
    return name.startswith("f1[") or name.endswith(tuple(f"_{average}" for average in _AVERAGES))


def _metric_rows(metrics: dict[str, Metric]) -> list[tuple[str, str, str]]:
    return [(name, _number(metric.value), _interval(metric)) for name, metric in metrics.items()]


def _interval_name(report: Report) -> str:
    return f"{100 * report.bootstrap.level:.4g} % interval" if report.bootstrap.resamples else ""


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"


def _interval(metric: Metric) -> str:
    return "" if math.isnan(metric.low) else f"{metric.low:.4f} - {metric.high:.4f}"


def _label_table(report: Report, labels: Sequence[dict[str, Any]]) -> list[str]:
    """Return a table with a row for each label and each average, as in the reports of seqeval and scikit-learn."""
    counts = ("correct", "predicted", "expected")
    has_area = any("auc" in row for row in labels)
    rows = [
        (
            row["label"],
            *(_number(row[name]) for name in ("precision", "recall", "f1")),
            _interval(report.metrics[f"f1[{row['label']}]"]),
            *([_number(row["auc"])] if has_area else []),
            *(str(row[name]) for name in counts),
        )
        for row in labels
    ]
    totals = tuple(str(sum(row[name] for row in labels)) for name in counts)
    for average in _AVERAGES:
        f1 = report.metrics[f"f1_{average}"]
        values = (_number(report.metrics[f"{name}_{average}"].value) for name in ("precision", "recall"))
        rows.append((f"{average} average", *values, _number(f1.value), _interval(f1), *[""] * has_area, *totals))
    header = ("label", "precision", "recall", "f1", _interval_name(report))
    return format_table((*header, *(["auc"] if has_area else []), *counts), rows)


def _confusion_lines(classes: Sequence[str], matrix: Sequence[Sequence[int]]) -> Iterator[str]:
    if len(classes) > _MAX_CONFUSION:
        yield f"confusion matrix of {len(classes)} classes: see --json or --html"
    else:
        rows = [(name, *map(str, row)) for name, row in zip(classes, matrix, strict=True)]
        yield from format_table(("expected \\ predicted", *classes), rows)
    yield ""


def _profile_lines(profile: Profile) -> Iterator[str]:
    tokens = ", ".join(f"{name} {count}" for name, count in profile.tokens.items())
    yield from format_table(
        ("", ""),
        [
            ("tokens per text", tokens),
            ("unknown tokens", f"{profile.unknown} ({profile.unknown_share:.2%})"),
            ("longer than the model", f"{profile.longer_share:.2%}"),
        ],
    )
    for name, counts in profile.histograms().items():
        yield from ("", *_bars(name, counts))


def _bars(name: str, counts: dict[str, int]) -> list[str]:
    total, largest = max(sum(counts.values()), 1), max(*counts.values(), 1)
    rows = [
        (label, str(count), f"{count / total:.2%}", "█" * round(_BAR * count / largest))
        for label, count in counts.items()
    ]
    return format_table((name, "count", "share", ""), rows)


def _drift_lines(report: Report) -> Iterator[str]:
    rows = [
        (drift.name, _number(drift.divergence), _number(drift.by_chance), _verdict(drift.divergence, drift.by_chance))
        for drift in report.drift
    ]
    yield ""
    yield from format_table(("drift", "divergence", "by chance up to", ""), rows)
    yield "divergence: Jensen-Shannon, base 2: 0 for equal distributions, 1 for disjoint ones"


def _verdict(divergence: float, by_chance: float) -> str:
    return "more than by chance" if divergence > by_chance else ""
