"""A comparison as tables for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bertbundle.cli.formatting import format_table
from bertbundle.evaluation.comparison.paired import Difference
from bertbundle.evaluation.comparison.report import ComparisonReport, DifferentText
from bertbundle.evaluation.reports.html import describe

__all__ = ["comparison_lines", "marked_text"]

_SHOWN = 5
_SPAN_TASKS = ("token-classification", "span-classification")


def comparison_lines(report: ComparisonReport) -> Iterator[str]:
    """Yield the lines of a comparison."""
    yield f"{report.task}: {report.data['texts']} texts of {report.data['path']}"
    yield from report.notes
    yield ""
    yield from _models(report)
    yield ""
    yield f"agreement: {report.agreement:.2%} ({report.agreed} of {report.data['texts']} texts)"
    if report.spans:
        yield "entities: {both} in both, {a_only} only in A, {b_only} only in B".format(**report.spans)
    yield from _metrics(report)
    yield from _differences(report)
    for limit in report.limits:
        verdict = "passed" if limit.passed else "FAILED"
        yield f"{limit.name} {limit.limit:g}: {limit.value:.4f}, {verdict}"


def _models(report: ComparisonReport) -> list[str]:
    header = ["", "target", "version", "precision"]
    rows = [
        [name, model["target"], str(model["version"]), str(model["precision"])]
        for name, model in zip("AB", report.models, strict=True)
    ]
    if report.latencies:
        header += ["ms mean", "p50", "p95"]
        for row, latency in zip(rows, report.latencies, strict=True):
            row += [f"{latency.mean:.2f}", f"{latency.p50:.2f}", f"{latency.p95:.2f}"]
    return format_table(header, rows)


def _metrics(report: ComparisonReport) -> Iterator[str]:
    if not report.metrics:
        return
    yield ""
    yield from format_table(
        ("metric", "A", "B", "B - A", "interval", "p"), [_row(name, each) for name, each in report.metrics.items()]
    )
    if report.bootstrap.resamples:
        yield f"intervals and p: paired bootstrap over texts, {report.bootstrap.resamples} samples"


def _row(name: str, each: Difference) -> tuple[str, ...]:
    interval = "" if math.isnan(each.low) else f"{each.low:+.4f} to {each.high:+.4f}"
    p_value = "" if math.isnan(each.p_value) else f"{each.p_value:.4f}"
    return name, _number(each.a), _number(each.b), _number(each.difference, "+"), interval, p_value


def _number(value: float, sign: str = "") -> str:
    return "-" if math.isnan(value) else f"{value:{sign}.4f}"


def _differences(report: ComparisonReport) -> Iterator[str]:
    for each in report.differences[:_SHOWN]:
        yield ""
        yield f"{report.data['place']} {each.line}"
        yield from _difference(report.task, each)
    if report.differences:
        yield ""
    if len(report.differences) > _SHOWN:
        yield f"the first {_SHOWN} of the different texts; --html and --json have more"
        yield ""


def _difference(task: str, each: DifferentText) -> Iterator[str]:
    results = {"expected": each.expected, "A": each.a, "B": each.b}
    shown = {name: value for name, value in results.items() if value is not None}
    if task in _SPAN_TASKS:
        yield from (f"  {name:<8} {marked_text(each.text, value)}" for name, value in shown.items())
        return
    for text in each.text if isinstance(each.text, list) else [each.text]:
        yield f"  {text}"
    yield from (f"  {name:<8} {_describe(task, value)}" for name, value in shown.items())


def _describe(task: str, value: Any) -> str:
    if isinstance(value, dict) and value.keys() == {"cosine"}:
        return f"cosine of A and B {value['cosine']:.4f}"
    return describe(task, value)


def marked_text(text: str, spans: Sequence[Mapping[str, Any]]) -> str:
    """Return a text with its entities in brackets; control characters and line ends are escaped.

    >>> marked_text("in Berlin", [{"label": "LOC", "start": 3, "end": 9}])
    'in [Berlin LOC]'
    """
    opening = {place: "[" * sum(span["start"] == place for span in spans) for place in range(len(text) + 1)}
    closing = {
        place: "".join(f" {span['label']}]" for span in reversed(spans) if span["end"] == place)
        for place in range(len(text) + 1)
    }
    pieces = [
        f"{closing[place]}{opening[place]}{_printable(text[place : place + 1])}" for place in range(len(text) + 1)
    ]
    return "".join(pieces)


def _printable(character: str) -> str:
    return character if character.isprintable() else repr(character)[1:-1]
