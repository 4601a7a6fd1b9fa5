"""A report as one HTML page that needs no other file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bertbundle.evaluation.reports.marks import escape, mark_spans
from bertbundle.evaluation.reports.mistakes import Mistake
from bertbundle.evaluation.reports.page import note_list, number, paragraph, table, whole_page
from bertbundle.evaluation.reports.profile import Profile
from bertbundle.evaluation.reports.report import Metric, Report

__all__ = ["describe", "report_page"]

_BAR_REMS = 14
_SPANS = ("token-classification", "span-classification")


def report_page(report: Report) -> str:
    """Return the page of a report."""
    model, data = report.model, report.data
    head = f", head {model['head']}" if model["head"] else ""
    title = f"{model['name']}, version {model['version']}{head}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="quiet">{escape(model["task"])}: {data["texts"]} texts of {escape(data["path"])}</p>',
        note_list(report.notes),
        *(_metrics(report) if report.metrics else ()),
        *_confusion(report),
        *_mistakes(report),
        *_profile(report.profile),
        *_drift(report),
    ]
    return whole_page(title, parts)


# ---- metrics


def _metrics(report: Report) -> Iterable[str]:
    main = report.metrics[report.main]
    yield "<h2>Metrics</h2>"
    yield f'<p><span class="figure">{number(main.value)}</span> {escape(report.main)} {_interval(main)}</p>'
    names = [name for name in report.metrics if "[" not in name]
    rows = [("main" if name == report.main else "", _metric_row(name, report.metrics[name])) for name in names]
    yield table(("metric", "value", "interval", ""), rows)
    if report.bootstrap.resamples:
        yield (
            f'<p class="quiet">Intervals: bootstrap over texts, percentiles of {report.bootstrap.resamples} samples, '
            f"probability {report.bootstrap.level:g}.</p>"
        )
    if "labels" in report.details:
        yield "<h2>Labels</h2>"
        yield _label_table(report, report.details["labels"])


def _metric_row(name: str, metric: Metric) -> list[str]:
    return [escape(name), number(metric.value), _interval(metric), _range(metric)]


def _interval(metric: Metric) -> str:
    return "" if math.isnan(metric.low) else f'<span class="quiet">{metric.low:.4f} to {metric.high:.4f}</span>'


def _range(metric: Metric) -> str:
    """Return a picture of a metric and its interval on a line from 0 to 1; nothing for one that may be outside."""
    ends = (metric.value, metric.low, metric.high)
    if any(math.isnan(end) or not 0 <= end <= 1 for end in ends):
        return ""
    value, low, high = (f"{100 * end:.2f}%" for end in ends)
    width = f"{100 * (metric.high - metric.low):.2f}%"
    bars = f'<i style="left:{low};width:{width}"></i><b style="left:{value}"></b>'
    return f'<span class="range" title="{low} to {high}">{bars}</span>'


def _label_table(report: Report, labels: Sequence[Mapping[str, Any]]) -> str:
    counts = ("correct", "predicted", "expected")
    scores = ("precision", "recall", "f1", *(["auc"] if any("auc" in row for row in labels) else []))
    rows = [
        (
            "",
            [
                escape(row["label"]),
                *(number(row[name]) for name in scores),
                _interval(report.metrics[f"f1[{row['label']}]"]),
                _range(report.metrics[f"f1[{row['label']}]"]),
                *(str(row[name]) for name in counts),
            ],
        )
        for row in labels
    ]
    return table(("label", *scores, "interval of f1", "", *counts), rows)


def _confusion(report: Report) -> Iterable[str]:
    matrix = report.details.get("confusion")
    if matrix is None:
        return
    classes = [escape(name) for name in report.model["classes"]]
    yield "<h2>Confusion matrix</h2>"
    yield '<p class="quiet">A row for each expected class, a column for each predicted one.</p>'
    rows = [
        ("", [name, *(_confusion_cell(count, sum(row)) for count in row)])
        for name, row in zip(classes, matrix, strict=True)
    ]
    yield table(("", *classes), rows, "confusion")


def _confusion_cell(count: int, total: int) -> str:
    share = round(100 * count / total) if total else 0
    return f'<span style="font-weight:{600 if share >= 50 else 400};opacity:{1 if count else 0.35}">{count}</span>'


# ---- profile and drift


def _profile(profile: Profile) -> Iterable[str]:
    yield "<h2>Texts and results</h2>"
    tokens = ", ".join(f"{name} {count}" for name, count in profile.tokens.items())
    facts = [
        ("tokens of a text", tokens),
        ("unknown tokens", f"{profile.unknown} ({profile.unknown_share:.2%})"),
        ("texts longer than the model", f"{profile.longer_share:.2%}"),
    ]
    yield table(("", ""), [("", [escape(name), escape(value)]) for name, value in facts])
    yield from (_bars(name, counts) for name, counts in profile.histograms().items())


def _bars(name: str, counts: Mapping[str, int]) -> str:
    total, largest = max(sum(counts.values()), 1), max(*counts.values(), 1)
    rows = [
        (
            "",
            [
                escape(label),
                str(count),
                f"{count / total:.2%}",
                f'<span class="bar" style="width:{_BAR_REMS * count / largest:.2f}rem"></span>',
            ],
        )
        for label, count in counts.items()
    ]
    return table((escape(name), "count", "share", ""), rows, "bars")


def _drift(report: Report) -> Iterable[str]:
    if not report.drift:
        return
    yield "<h2>Drift</h2>"
    yield (
        '<p class="quiet">Jensen-Shannon divergence from the baseline, base 2: 0 for equal distributions, 1 for '
        "disjoint ones.</p>"
    )
    rows = [("", [escape(item.name), number(item.divergence), number(item.by_chance)]) for item in report.drift]
    yield table(("distribution", "divergence", "by chance up to"), rows)


# ---- mistakes


def _mistakes(report: Report) -> Iterable[str]:
    if not report.mistakes:
        return
    yield "<h2>Worst mistakes</h2>"
    task = str(report.model["task"])
    if task in _SPANS:
        yield (
            '<p class="quiet"><mark class="right">found and expected</mark>, <mark class="wrong">found, but wrong'
            '</mark><span class="tag">+</span>, <mark class="missed">expected, but not found</mark>'
            '<span class="tag missed">\u2212</span></p>'
        )
    for mistake in report.mistakes:
        place = f"{escape(report.data['place'])} {mistake.line}"
        yield f'<article class="mistake"><header>{place}</header>{_mistake(task, mistake)}</article>'


def _mistake(task: str, mistake: Mistake) -> str:
    if task in _SPANS:
        return paragraph(mark_spans(mistake.text, mistake.expected, mistake.found))
    texts = mistake.text if isinstance(mistake.text, list) else [mistake.text]
    shown = [escape(text) for text in texts]
    if task == "question-answering":
        answer = {"label": "", **mistake.found}
        shown[1] = mark_spans(texts[1], [], [answer] if answer["text"] else [])
    expected, found = (describe(task, item) for item in (mistake.expected, mistake.found))
    facts = f"<dl><dt>expected</dt><dd>{escape(expected)}</dd><dt>found</dt><dd>{escape(found)}</dd></dl>"
    return "".join(map(paragraph, shown)) + facts


def describe(task: str, value: Any) -> str:
    """Return what was expected or found, as text."""
    return _DESCRIPTIONS.get(task, lambda number: f"{number:.4f}")(value)


def _labels(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{label} ({score:.4f})" for label, score in value.items()) or "(none)"
    return ", ".join(value) or "(none)"


def _answers(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{value['text'] or '(no answer)'} ({value['score']:.4f})"
    return " / ".join(value) or "(no answer)"


def _tokens(value: Any) -> str:
    return " / ".join(item if isinstance(item, str) else ", ".join(item) for item in value)


_DESCRIPTIONS: Mapping[str, Callable[[Any], str]] = {
    "text-classification": _labels,
    "question-answering": _answers,
    "fill-mask": _tokens,
}
