"""`bertbundle evaluate`: reports of a small model as tables, JSON and HTML."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bertbundle.cli.main import main

Run = Callable[..., str]
WORDS = "Wang B-PER\nlives O\n\nin O\nBerlin B-PER\n\n王 O\n"


@pytest.fixture
def conll(tmp_path: Path) -> str:
    """A file whose second text has a label that the model gets wrong."""
    path = tmp_path / "test.conll"
    path.write_text(WORDS, encoding="utf-8")
    return str(path)


@pytest.fixture
def report(run: Run, ner: list[str]) -> Callable[..., dict[str, Any]]:
    """Return a function that evaluates the small tagger and returns the report."""
    return lambda *arguments: json.loads(run("evaluate", *ner, "--json", *arguments))


def test_table(run: Run, ner: list[str], conll: str) -> None:
    """The table has the figures of each label and the averages with their intervals."""
    lines = run("evaluate", *ner, "--data", conll, "--resamples", "50").splitlines()
    assert lines[0] == f"tiny, version 1, token-classification: 3 texts of {conll}"
    rows = {line.split("  ")[0]: line.split() for line in lines}
    assert rows["PER"][1:4] == ["0.5000", "0.5000", "0.5000"]
    assert rows["LOC"][-3:] == ["0", "1", "0"]
    assert rows["micro average"][2:5] == ["0.3333", "0.5000", "0.4000"]
    assert lines[-2] == "intervals: bootstrap over texts, percentiles of 50 samples, seed 0"


def test_json_is_equal_for_equal_seeds(report: Callable[..., dict[str, Any]], conll: str) -> None:
    """The report has metrics with intervals, labels, mistakes with both kinds of spans, and the profile."""
    options = ("--data", conll, "--resamples", "30", "--seed", "5")
    first = report(*options)
    assert first == report(*options)
    assert first["main"] == "f1_micro"
    metric = first["metrics"]["f1_micro"]
    assert 0 <= metric["low"] <= metric["value"] <= metric["high"] <= 1
    assert first["mistakes"][0] == {
        "line": 4,
        "text": "in Berlin",
        "expected": [{"label": "PER", "start": 3, "end": 9}],
        "found": [{"label": "LOC", "start": 3, "end": 9, "score": pytest.approx(0.575, abs=0.01)}],
        "error": 2.0,
    }
    assert (first["profile"]["texts"], first["interval"]["seed"]) == (3, 5)
    without = report("--data", conll, "--resamples", "0", "--worst", "0")
    assert without["metrics"]["f1_micro"]["low"] is None
    assert without["mistakes"] == []


def test_long_texts_are_said(run: Run, ner: list[str], tmp_path: Path) -> None:
    """The number of texts that were split or truncated is stated."""
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "wang " * 40, "entities": []}), encoding="utf-8")
    for truncation, how in (("window", "split into windows"), ("truncate", "truncated")):
        out = run("evaluate", *ner, "--data", str(path), "--truncation", truncation)
        assert f"1 of 1 texts have more than 12 tokens and were {how}." in out


def test_unlabelled_texts_and_a_baseline(run: Run, ner: list[str], tmp_path: Path) -> None:
    """Without labels there is a profile; with a baseline, the divergences from it."""
    before, after, baseline = tmp_path / "before.txt", tmp_path / "after.txt", tmp_path / "before.json"
    before.write_text("wang\n" * 40, encoding="utf-8")
    after.write_text("in berlin\n" * 40, encoding="utf-8")
    out = run("evaluate", *ner, "--data", str(before), "--unlabelled")
    assert "PER     40" in out
    assert "drift" not in out
    assert "f1" not in out
    baseline.write_text(run("evaluate", *ner, "--data", str(before), "--unlabelled", "--json"), encoding="utf-8")
    lines = run("evaluate", *ner, "--data", str(after), "--unlabelled", "--baseline", str(baseline)).splitlines()
    (labels,) = (line for line in lines if line.startswith("labels "))
    assert labels.split()[1] == "1.0000"
    assert labels.endswith("more than by chance")
    unknown = [line for line in lines if line.startswith("unknown tokens ")]
    assert unknown[-1].split()[2] == "0.0000"


def test_classes_have_a_confusion_matrix(run: Run, serve: Callable[..., str], tmp_path: Path) -> None:
    """The table of a classifier has accuracy and AUC, and the confusion matrix."""
    path = tmp_path / "a.csv"
    path.write_text("text,label\nwang,perhaps\nin,no\nlives,no\n", encoding="utf-8")
    flags = ["--server", serve("text-classification"), "--model", "tiny", "--data", str(path)]
    out = run("evaluate", *flags, "--resamples", "0")
    assert "accuracy  0.6667" in out
    lines = out.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("expected \\ predicted"))
    assert [line.split() for line in lines[start + 1 : start + 4]] == [
        ["no", "1", "0", "1"],
        ["perhaps", "0", "1", "0"],
        ["yes", "0", "0", "0"],
    ]


def test_page_is_whole(run: Run, ner: list[str], tmp_path: Path) -> None:
    """--html writes one page without scripts and without addresses; texts are escaped."""
    path, page = tmp_path / "<i>.conll", tmp_path / "report.html"
    path.write_text(WORDS.replace("lives", "<script>alert(1)</script>"), encoding="utf-8")
    run("evaluate", *ner, "--data", str(path), "--html", str(page), "--resamples", "20")
    content = page.read_text(encoding="utf-8")
    assert "<script" not in content
    assert "http" not in content.replace("http-equiv", "")
    assert "&lt;i&gt;.conll" in content
    assert sorted(file.name for file in tmp_path.iterdir()) == ["<i>.conll", "report.html"]


def test_page_that_cannot_be_written_is_reported_first(fail: Run, conll: str, tmp_path: Path) -> None:
    """Before any request, a directory that does not exist, or a page that is a directory, is one message."""
    flags = ("--server", "localhost:1", "--model", "tiny", "--data", conll)
    assert "--html /missing/x.html cannot be written: No such file" in fail(
        "evaluate", *flags, "--html=/missing/x.html"
    )
    assert "cannot be written: Is a directory" in fail("evaluate", *flags, "--html", str(tmp_path))


def test_bad_data_and_bad_flags_are_one_message(fail: Run, ner: list[str], conll: str) -> None:
    """A wrong value of a flag, and data that does not fit the model, end with code 2 and one line."""
    renamed = fail("evaluate", *ner, "--data", conll, "--rename", "PER=CITY")
    assert "line 1: label 'CITY', renamed from 'PER', is not one of the model's: PER, LOC." in renamed
    assert "expected LABEL=NEW" in fail("evaluate", *ner, "--data", conll, "--rename", "PER")
    assert "expected a number between 0 and 1" in fail("evaluate", *ner, "--data", conll, "--level", "95")
    assert "at least 0, got '-1'" in fail("evaluate", *ner, "--data", conll, "--resamples", "-1")
    assert "has no head 'x'" in fail("evaluate", *ner, "--data", conll, "--head", "x")
    assert "--baseline /missing cannot be read" in fail("evaluate", *ner, "--data", conll, "--baseline", "/missing")
    assert main(["evaluate", *ner, "--data", conll, "--strict", "--scheme", "BIO"]) == 0
