"""The page of a report: for each task, and in a real browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bertbundle.data.examples import DataOptions
from bertbundle.evaluation.reports.evaluate import Evaluation, evaluate
from bertbundle.evaluation.reports.html import report_page
from bertbundle.evaluation.reports.report import Bootstrap, Report
from browser import find_browser, open_page
from fakes import FakeTransport, Model, connect, make_manifest
from optional import skip_without

HOSTILE = "</p><script>document.title = 'x'</script><img src='http://localhost/x'> & wang"


def make_report(directory: Path, task: str, content: str, **options: Any) -> Report:
    """Evaluate the small model of a task on a file of rows."""
    path = directory / "data.csv"
    path.write_text(content, encoding="utf-8")
    with connect(FakeTransport(Model(make_manifest(task)))) as client:
        return evaluate(client, "tiny", Evaluation(str(path), bootstrap=Bootstrap(20), **options))


@pytest.mark.parametrize(
    ("task", "content", "shown"),
    [
        ("text-classification", "text,label\nwang,no\nin,no\n", "<dt>found</dt><dd>perhaps (0.7500)</dd>"),
        ("regression", "text,label\nwang,1\nin,6\n", "<dt>expected</dt><dd>1.0000</dd>"),
        ("feature-extraction", "text,pair,label\nwang,in,1\nin,today,0\nwang,wang,0\n", "spearman"),
        ("question-answering", "question,context,answers\nwang,in Berlin,today\n", '<mark class="wrong">Berlin</mark>'),
        ("fill-mask", "text,label\n[MASK] in,berlin\n", "<dd>wang, lives</dd>"),
        ("span-classification", "text,entities\nin Berlin,[]\n", '<span class="tag wrong" title="wrong">+PLACE</span>'),
    ],
)
def test_mistakes_of_each_task_are_shown(tmp_path: Path, task: str, content: str, shown: str) -> None:
    """The page of each task has its metrics, and shows a wrong result with what was expected."""
    page = report_page(make_report(tmp_path, task, content))
    assert "Worst mistakes" in page
    assert shown in page


def test_place_of_a_mistake_is_what_the_file_counts(tmp_path: Path) -> None:
    """Mistakes in a JSON list have the number of their row, which is no line."""
    path = tmp_path / "data.json"
    path.write_text(json.dumps([{"text": "in", "label": "no"}, {"text": "wang", "label": "no"}]), encoding="utf-8")
    with connect(FakeTransport(Model(make_manifest("text-classification")))) as client:
        report = evaluate(client, "tiny", Evaluation(str(path), bootstrap=Bootstrap(0)))
    assert "<header>row 2</header>" in report_page(report)
    assert report.to_dict()["data"]["place"] == "row"


def test_labels_that_are_left_out_are_no_mistakes(tmp_path: Path) -> None:
    """What the metrics leave out is not shown as a mistake."""
    path = tmp_path / "data.conll"
    path.write_text("Wang B-LOC\nin O\nBerlin B-X\n", encoding="utf-8")
    options = DataOptions(rename={"X": "", "LOC": "PER"})
    with connect(FakeTransport(Model(make_manifest()))) as client:
        report = evaluate(client, "tiny", Evaluation(str(path), options, bootstrap=Bootstrap(0)))
        assert report.metrics["precision_micro"].value == 0.5
        options = DataOptions(rename={"X": "", "LOC": ""})
        report = evaluate(client, "tiny", Evaluation(str(path), options, bootstrap=Bootstrap(0)))
    assert report.metrics["f1[PER]"].value == 0
    assert [span["label"] for span in report.mistakes[0].found] == ["PER"]


def test_page_in_a_browser(tmp_path: Path) -> None:
    """A real browser shows the page without loading or running anything, at the width of a phone as well."""
    browser = find_browser()
    if browser is None:
        skip_without("chromium")
    report = make_report(tmp_path, "text-classification", f'text,label\n"{HOSTILE}",no\nwang,no\n')
    path = tmp_path / "report.html"
    path.write_text(report_page(report), encoding="utf-8")
    with open_page(browser, tmp_path / "profile") as page:
        for width in (1200, 360):
            page.show(path.as_uri(), width=width, height=800)
            page.wait_for("document.querySelectorAll('.mistake').length == 2")
            assert page.value("document.title") == "tiny, version 1"
            assert HOSTILE in page.value("document.body.innerText")
            assert page.value("document.documentElement.scrollWidth <= window.innerWidth")
        assert page.requested == [path.as_uri()] * 2
        assert page.errors == []
