"""A comparison as one HTML page that needs no other file."""

from __future__ import annotations

import math
from collections.abc import Iterable

from bertbundle.evaluation.comparison.paired import Difference
from bertbundle.evaluation.comparison.report import ComparisonReport, DifferentText
from bertbundle.evaluation.reports.html import describe
from bertbundle.evaluation.reports.marks import escape, mark_spans
from bertbundle.evaluation.reports.page import note_list, number, paragraph, table, whole_page

__all__ = ["comparison_page"]

_SPAN_TASKS = ("token-classification", "span-classification")


def comparison_page(report: ComparisonReport) -> str:
    """Return the page of a comparison."""
    a, b = (escape(model["target"]) for model in report.models)
    title = f"{report.models[0]['target']} and {report.models[1]['target']}"
    parts = [
        f"<h1>{a} and {b}</h1>",
        f'<p class="quiet">{escape(report.task)}: {report.data["texts"]} texts of {escape(report.data["path"])}</p>',
        note_list(report.notes),
        *_verdict(report),
        *_models(report),
        *_metrics(report),
        *_differences(report),
    ]
    return whole_page(title, parts)


def _verdict(report: ComparisonReport) -> Iterable[str]:
    yield "<h2>Agreement</h2>"
    yield f'<p><span class="figure">{report.agreement:.2%}</span> {report.agreed} of {report.data["texts"]} texts</p>'
    if report.spans:
        both, a_only, b_only = (report.spans[name] for name in ("both", "a_only", "b_only"))
        yield f'<p class="quiet">Entities: {both} in both, {a_only} only in A, {b_only} only in B.</p>'
    if report.limits:
        rows = [
            (
                "" if limit.passed else "main",
                [limit.name, f"{limit.limit:g}", number(limit.value), _passed(limit.passed)],
            )
            for limit in report.limits
        ]
        yield table(("limit", "", "measured", ""), rows)


def _passed(passed: bool) -> str:
    return "passed" if passed else "failed"


def _models(report: ComparisonReport) -> Iterable[str]:
    yield "<h2>Models</h2>"
    names = ("target", "name", "version", "precision", "max_length")
    rows = [("", [name.replace("_", " "), *(escape(model[name]) for model in report.models)]) for name in names]
    for name in ("mean", "p50", "p95") if report.latencies else ():
        values = (f"{getattr(latency, name):.2f} ms" for latency in report.latencies)
        rows.append(("", [f"latency of a text, {name}", *values]))
    yield table(("", "A", "B"), rows)
    if report.latencies:
        count = report.latencies[0].requests
        yield f'<p class="quiet">{count} requests of one text to each model, in turn, one at a time.</p>'


def _metrics(report: ComparisonReport) -> Iterable[str]:
    if not report.metrics:
        return
    yield "<h2>Metrics</h2>"
    rows = [("main" if name == report.main else "", _row(name, each)) for name, each in report.metrics.items()]
    yield table(("metric", "A", "B", "B − A", "interval", "p"), rows)
    if report.bootstrap.resamples:
        yield (
            f'<p class="quiet">Intervals ({report.bootstrap.level:g}) and two-sided p-values: paired bootstrap over '
            f"texts, {report.bootstrap.resamples} samples.</p>"
        )


def _row(name: str, each: Difference) -> list[str]:
    interval = "" if math.isnan(each.low) else f"{each.low:+.4f} to {each.high:+.4f}"
    difference = "-" if math.isnan(each.difference) else f"{each.difference:+.4f}"
    return [escape(name), number(each.a), number(each.b), difference, interval, number(each.p_value)]


def _differences(report: ComparisonReport) -> Iterable[str]:
    if not report.differences:
        return
    yield "<h2>Where they differ</h2>"
    if report.task in _SPAN_TASKS:
        yield _legend(labelled=report.differences[0].expected is not None)
    for each in report.differences:
        place = f"{escape(report.data['place'])} {each.line}"
        yield f'<article class="mistake"><header>{place}</header>{_difference(report.task, each)}</article>'


def _legend(*, labelled: bool) -> str:
    if labelled:
        words = ("found and expected", "found, but wrong", "expected, but not found")
    else:
        words = ("found by both", "found by B only", "found by A only")
    right, wrong, missed = words
    return (
        f'<p class="quiet"><mark class="right">{right}</mark>, <mark class="wrong">{wrong}</mark>'
        f'<span class="tag wrong">+</span>, <mark class="missed">{missed}</mark><span class="tag missed">−</span></p>'
    )


def _difference(task: str, each: DifferentText) -> str:
    texts = each.text if isinstance(each.text, list) else [each.text]
    if task in _SPAN_TASKS and each.expected is None:
        return paragraph(mark_spans(texts[0], each.a, each.b))
    if task in _SPAN_TASKS:
        results = (("A", each.a), ("B", each.b))
        return "".join(
            paragraph(f'<b class="quiet">{name}</b> {mark_spans(texts[0], each.expected, found)}')
            for name, found in results
        )
    facts = [("A", _describe(task, each.a)), ("B", _describe(task, each.b))]
    if each.expected is not None:
        facts.insert(0, ("expected", describe(task, each.expected)))
    items = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    return "".join(paragraph(escape(text)) for text in texts) + f"<dl>{items}</dl>"


def _describe(task: str, value: object) -> str:
    if isinstance(value, dict) and value.keys() == {"cosine"}:
        return f"cosine of A and B {value['cosine']:.4f}"
    return describe(task, value)
