"""Tables and highlighted texts."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable

import pytest

from bertbundle.cli import formatting
from bertbundle.contract.manifest import ParityRow
from bertbundle.contract.types import Classification, Entity
from bertbundle.contract.word_segmenter import WordSegmenter
from fakes import make_manifest

Run = Callable[..., str]


def test_entity_table(run: Run, ner: list[str]) -> None:
    """Entities are a table with one row each; the text is in its first row, and "(none)" stands for no entity."""
    out = run("predict", *ner, "Wang lives in 北京", "today")
    assert out.splitlines() == [
        "text                label  entity  score   start  end",
        "Wang lives in 北京  PER    Wang    0.5400  0      4",
        "                    LOC    北京    0.6450  14     16",
        "today               -      (none)  0.0000  0      0",
    ]


def test_class_table(run: Run, serve: Callable[..., str]) -> None:
    """Classes are a table, best first, with the predicted ones marked."""
    out = run("predict", "--server", serve("text-classification"), "--model", "tiny", "wang")
    assert out.splitlines() == [
        "text     label    score",
        "wang  *  perhaps  0.7500",
        "         yes      0.5000",
        "         no       0.2500",
    ]


def test_head_tables(run: Run, serve: Callable[..., str]) -> None:
    """Each of several heads has a table of its own, below its name."""
    out = run("predict", "--server", serve("multi-task"), "--model", "tiny", "wang", "in")
    assert out.splitlines() == [
        "intent:",
        "text     label    score",
        "wang  *  perhaps  0.7500",
        "         yes      0.5000",
        "         no       0.2500",
        "in    *  no       0.7500",
        "         perhaps  0.5000",
        "         yes      0.2500",
        "",
        "slots:",
        "text  label  entity  score   start  end",
        "wang  PER    wang    0.5400  0      4",
        "in    -      (none)  0.0000  0      0",
        "",
    ]


def test_embeddings(run: Run, serve: Callable[..., str]) -> None:
    """Embeddings are a table of their similarities, and vectors in JSON."""
    predict = ["predict", "--server", serve("feature-extraction"), "--model", "tiny", "wang", "a b"]
    assert run(*predict).splitlines() == [
        "   text  dimensions  cosine 0  cosine 1",
        "0  wang  2           1.0000    0.9162",  # of (4, 3) and (17, 4), by hand: 80 / (5 * 17.4642)
        "1  a b   2           0.9162    1.0000",
    ]
    assert [json.loads(line)["embedding"] for line in run(*predict, "--json").splitlines()] == [[4, 3], [17, 4]]


def test_answer_table(run: Run, serve: Callable[..., str]) -> None:
    """Answers are a table that includes the score of "no answer"; questions with a context work in bench, too."""
    reader = ["--server", serve("question-answering"), "--model", "tiny", "--pair", "lives in Berlin", "wang"]
    header, row = run("predict", *reader).splitlines()
    assert header.split() == ["question", "answer", "score", "start", "end", "no", "answer"]
    assert row.split()[:2] == ["wang", "Berlin"]
    assert json.loads(run("bench", *reader, "--seconds", "0.1", "--json"))["calls"] > 0


def test_highlighted_entities(run: Run, ner: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal entities are highlighted in the text, with their labels, unless NO_COLOR is set."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b" not in run("predict", *ner, "Wang lives")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    out = run("predict", *ner, "Wang lives")
    assert re.sub(r"\x1b\[[0-9;]*m", "", out) == "Wang PER lives\n"
    assert out != "Wang PER lives\n"
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in run("predict", *ner, "Wang lives")


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        pytest.param([("A", 0, 4), ("B", 9, 11)], "北京大学 A在中国北京大学 B", id="apart"),
        pytest.param([("A", 0, 4), ("B", 4, 9)], "北京大学 A在中国北京 B大学", id="adjacent"),
        pytest.param([("A", 0, 4), ("B", 0, 2)], "[[北京] B大学] A在中国北京大学", id="nested_at_the_start"),
        pytest.param([("A", 5, 11), ("B", 9, 11)], "北京大学在[中国北京[大学] B] A", id="nested_at_the_end"),
        pytest.param([("A", 0, 4), ("B", 2, 7)], "[北京[大学] A在中国] B北京大学", id="crossing"),
        pytest.param([("A", 0, 2), ("B", 0, 2)], "[[北京] A] B大学在中国北京大学", id="two_labels"),
        pytest.param([], "北京大学在中国北京大学", id="none"),
    ],
)
def test_nested_entities_in_place(spans: list[tuple[str, int, int]], expected: str) -> None:
    """Every character appears once; entities that share characters are in brackets, each with its label behind it."""
    text = "北京大学在中国北京大学"
    entities = [Entity(label, text[start:end], start, end, 0.5) for label, start, end in spans]
    shown = re.sub(r"\x1b\[[0-9;]*m", "", formatting.highlight_entities(text, entities))
    assert shown == expected


def test_span_model(run: Run, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nested entities have a row each; on a terminal they are shown in the text; info states the threshold."""
    flags = ["--server", serve("span-classification", span_threshold=0.5), "--model", "tiny"]
    assert [line.split()[-5:-3] for line in run("predict", *flags, "lives in Berlin").splitlines()[1:]] == [
        ["in", "Berlin"],
        ["LOC", "Berlin"],
    ]
    assert "spans with a logit above 0.5, at most 4" in run("info", *flags)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    out = run("predict", *flags, "lives in Berlin")
    assert re.sub(r"\x1b\[[0-9;]*m", "", out) == "lives [in [Berlin] LOC] PLACE\n"


def test_parity_is_the_worst(run: Run, serve: Callable[..., str]) -> None:
    """The parity table has one row per format and output, with the worst figures of all signatures."""
    rows = (
        ParityRow("onnx", "length_4", "logits", 8, 1.5e-6, 1e-7, 0.99, 1e-5, 1e-4),
        ParityRow("onnx", "length_8", "logits", 8, 2.5e-6, 1e-7, 1.0, 1e-5, 1e-4),
        ParityRow("onnx", "length_8", "label_ids", 8, 0.0, 0.0, 1.0, 1e-5, 1e-4),
    )
    out = run("info", "--server", serve(parity=rows), "--model", "tiny").splitlines()
    assert [line.split() for line in out[-2:]] == [
        ["onnx", "logits", "2.50e-06", "99.00%"],
        ["onnx", "label_ids", "0.00e+00", "100.00%"],
    ]


# ---- widths of characters


def _width_of(line: str) -> int:
    return sum(2 if "\u2e80" <= char <= "\uffef" or char > "\U0001f000" else 1 for char in line if char != "\u0301")


def test_wide_characters_align() -> None:
    """Columns are aligned whatever the width of the characters before them."""
    texts = ["ascii", "北京大学", "ｆｕｌｌ", "e\u0301e\u0301", "😀"]
    entity = Entity("X", "x", 0, 1, 1.0)
    header, *rows = formatting._entity_table(texts, [[entity]] * len(texts))
    columns = {_width_of(row[: row.index(" X ")]) for row in rows}
    assert columns == {header.index("label") - 1}


@pytest.mark.parametrize(
    ("text", "width"),
    [
        pytest.param("abc", 3, id="ascii"),
        pytest.param("王。", 4, id="wide"),
        pytest.param("e\u0301", 1, id="combining"),
        pytest.param("ที่", 1, id="thai-vowel-and-tone"),
        pytest.param("☺\ufe0e", 1, id="variation-selector"),
    ],
)
def test_width(text: str, width: int) -> None:
    """A wide character takes two columns, a combining mark none."""
    assert formatting._width(text) == width


def test_control_characters_are_replaced() -> None:
    """An escape sequence or a line break in a text does not reach the terminal."""
    lines = list(formatting._class_table(["a\x1b[2J\nb\tc"], [Classification("x", 1.0, ("x",), {"x": 1.0})]))
    assert lines[1] == "a [2J b c  *  x      1.0000"


def test_words_of_a_manifest() -> None:
    """What splits texts into words is shown with the version of its dictionary, if anything does."""
    segmenter = WordSegmenter("mecab", "ipadic", "1.0.0")
    fields = dict(formatting.describe_manifest(make_manifest(word_segmenter=segmenter)))
    assert fields["words"] == "mecab ipadic 1.0.0"
    assert dict(formatting.describe_manifest(make_manifest(word_segmenter=WordSegmenter("basic"))))["words"] == "basic"
    assert "words" not in dict(formatting.describe_manifest(make_manifest()))
