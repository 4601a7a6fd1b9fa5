"""The `bertbundle` command: in this process against a fake server, and as a process."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import bertbundle
from bertbundle.cli.main import main
from fakes import FakeServer, Model, make_manifest, predict_method

Run = Callable[..., str]

COMMAND = [sys.executable, "-m", "bertbundle"]


# ---- predict


def test_json_lines(run: Run, ner: list[str]) -> None:
    """With --json each text is one line of JSON, in order, with offsets and unrounded scores."""
    lines = [json.loads(line) for line in run("predict", *ner, "--json", "Wang lives in 北京", "today").splitlines()]
    assert [line["text"] for line in lines] == ["Wang lives in 北京", "today"]
    person, place = lines[0]["entities"]
    assert person == {"label": "PER", "text": "Wang", "start": 0, "end": 4, "score": pytest.approx(0.54)}
    assert place["text"] == lines[0]["text"][place["start"] : place["end"]] == "北京"
    assert lines[1]["entities"] == []


def test_pair(run: Run, serve: Callable[..., str]) -> None:
    """Each text is paired with the text of --pair."""
    address = serve("text-classification")
    (line,) = run("predict", "--server", address, "--model", "tiny", "--json", "--pair", "in", "wang").splitlines()
    assert json.loads(line) == {
        "text": "wang",
        "label": "perhaps",
        "score": 0.75,
        "labels": ["perhaps"],
        "scores": {"perhaps": 0.75, "yes": 0.5, "no": 0.25},
    }


def test_texts_from_standard_input(run: Run, ner: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a text argument each line of standard input is a text, whatever its line ending."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("wang\r\n北京\ntoday"))
    texts = [json.loads(line)["text"] for line in run("predict", *ner, "--json").splitlines()]
    assert texts == ["wang", "北京", "today"]


def test_many_texts_from_standard_input(run: Run, ner: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard input is answered in several calls, in order; blank lines and a byte order mark are skipped."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("\ufeff" + "wang\n\n北京 today\n" * 150))
    texts = [json.loads(line)["text"] for line in run("predict", *ner, "--json").splitlines()]
    assert texts == ["wang", "北京 today"] * 150


def test_invalid_text_after_the_first_batch(fail: Run, ner: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The message for an invalid text says where its batch starts, because its index is counted from there."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("wang\n" * 70 + "wang " * 50))
    message = fail("predict", *ner, "--truncation", "error")
    assert "in the batch starting at text 64, text 6 has 52 tokens" in message


def test_truncation(run: Run, fail: Run, ner: list[str]) -> None:
    """--truncation decides whether a text that is too long is split into windows, an error, or truncated."""
    text = "wang " * 50
    assert "text 0 has 52 tokens" in fail("predict", *ner, "--truncation", "error", text)
    assert run("predict", *ner, "--json", text).count('"PER"') == 50
    assert run("predict", *ner, "--truncation", "truncate", "--json", text).count('"PER"') == 10


def test_allow_no_answer(run: Run, start_server: Callable[..., FakeServer]) -> None:
    """With --allow-no-answer the answer is empty if [CLS] is more likely than every span."""
    no_answer = {name: lambda inputs: 9.0 * (inputs["input_ids"] == 2) for name in ("start_logits", "end_logits")}
    model = Model(make_manifest("question-answering"), overrides=no_answer)
    server = start_server(predict_method(model)).address
    predict = [
        *("predict", "--server", server, "--model", "tiny", "--json", "--pair", "a b c", "--hedge-after", "9"),
        "wang",
    ]
    found, none = (json.loads(run(*predict, *flags))["answer"] for flags in ([], ["--allow-no-answer"]))
    assert (found["text"], none["text"]) == ("a", "")


# ---- several heads


@pytest.fixture
def joint(serve: Callable[..., str]) -> list[str]:
    """The connection flags of a served model with two heads."""
    return ["--server", serve("multi-task"), "--model", "tiny"]


def test_heads(run: Run, joint: list[str]) -> None:
    """All heads are printed, or the one that --head names."""
    heads = json.loads(run("predict", *joint, "--json", "Wang lives"))["heads"]
    assert heads["intent"]["label"] == "perhaps"
    assert [entity["text"] for entity in heads["slots"]["entities"]] == ["Wang"]
    assert json.loads(run("predict", *joint, "--json", "--head", "slots", "Wang"))["entities"][0]["label"] == "PER"
    assert json.loads(run("bench", *joint, "--head", "intent", "--seconds", "0.1", "--json", "wang"))["calls"] > 0


def test_heads_in_bulk(joint: list[str], tmp_path: Path) -> None:
    """A bulk job writes the results of all heads, or those of the head that --head names."""
    (tmp_path / "in.txt").write_text("wang\ntoday\n")
    for flags, expected in (([], "heads"), (["--head", "slots"], "entities")):
        output = tmp_path / f"{expected}.jsonl"
        main(["bulk", *joint, *flags, str(tmp_path / "in.txt"), "--output", str(output)])
        rows = [json.loads(line) for line in output.read_text().splitlines()]
        assert [row["text"] for row in rows] == ["wang", "today"]
        assert all(expected in row for row in rows)


def test_pair_for_several_heads(run: Run, fail: Run, joint: list[str]) -> None:
    """A pair is for a head that takes pairs: beside a tagger it needs --head."""
    message = fail("predict", *joint, "--pair", "in", "wang")
    assert "is for multi-task, which takes single texts: omit --pair" in message
    assert '"perhaps"' in run("predict", *joint, "--json", "--head", "intent", "--pair", "in", "wang")


def test_unknown_head(fail: Run, joint: list[str], ner: list[str]) -> None:
    """The message for an unknown head names the heads, or says that there is no choice."""
    assert "has no head 'x', it has intent, slots. Change --head." in fail("predict", *joint, "--head", "x", "wang")
    assert "has no head 'x', it is for token-classification only. Omit --head." in fail(
        "predict", *ner, "--head", "x", "wang"
    )


# ---- info and status


def test_info(run: Run, ner: list[str]) -> None:
    """The manifest is shown as a table, or as JSON."""
    out = run("info", *ner)
    assert "signatures  serving_default [batch, 12], length_4 [batch, 4], length_8 [batch, 8]" in out
    assert "labels      O, B-PER, I-PER, B-LOC, I-LOC" in out
    assert json.loads(run("info", *ner, "--json"))["max_length"] == 12


def test_info_of_heads(run: Run, joint: list[str]) -> None:
    """The labels and the decoding of each head are shown behind its name."""
    out = run("info", *joint)
    assert "heads       intent (text-classification), slots (token-classification)" in out
    assert "labels      intent: no, perhaps, yes; slots: O, B-PER, I-PER, B-LOC, I-LOC" in out
    assert "slots: BIO argmax, labels per token" in out


def test_status(run: Run, ner: list[str]) -> None:
    """The state of each version is a row, or a line of JSON."""
    assert run("status", *ner).splitlines() == [
        "version  state      error             message",
        "2        LOADING    OK",
        "1        AVAILABLE  OK",
        "0        END        INVALID_ARGUMENT  no model.onnx",
    ]
    lines = [json.loads(line) for line in run("status", *ner, "--json").splitlines()]
    assert lines[1] == {"version": 1, "state": "AVAILABLE", "error": "OK", "message": ""}


# ---- errors


def test_unknown_model(fail: Run, serve: Callable[..., str]) -> None:
    """The message for an unknown model has its name and the next step."""
    message = fail("predict", "--server", serve(), "--model", "other", "wang")
    assert "NOT_FOUND: Servable not found for request: Latest(other). Check the model name" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([""], "text 0 is empty", id="empty"),
        pytest.param(["wang", " "], "text 1 is empty", id="blank"),
        pytest.param(["a " * 11, "--truncation", "error"], "text 0 has 13 tokens", id="too-long"),
        pytest.param(["a\nb\udcff"], "text 0 is not valid Unicode", id="not-unicode"),
        pytest.param(["\u200b"], "text 0 has no tokens: '\\u200b'", id="no-tokens"),
        pytest.param(["wang", "--pair", "in"], "which takes single texts: omit --pair", id="pair"),
        pytest.param(["--allow-no-answer", "a"], "is for token-classification: omit --allow-no-answer", id="no-answer"),
    ],
)
def test_invalid_texts_and_flags(fail: Run, ner: list[str], arguments: list[str], message: str) -> None:
    """An invalid text, or a flag that the task does not support, is reported in one line with exit code 2."""
    assert message in fail("predict", *ner, *arguments)


def test_no_texts(fail: Run, ner: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """If there is no text at all, the message says how to pass texts."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert "no text was given. Pass one as an argument, or lines on standard input." in fail("predict", *ner)


def test_standard_input_in_another_encoding(fail: Run, ner: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard input that is not in the expected encoding is reported in one line."""
    latin = io.TextIOWrapper(io.BytesIO("café".encode("latin-1")), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", latin)
    assert "standard input is not utf-8: " in fail("predict", *ner)


def test_unknown_task(fail: Run, serve: Callable[..., str]) -> None:
    """The message for a model of an unknown task says to upgrade."""
    message = fail("predict", "--server", serve("summarization"), "--model", "tiny", "wang")
    assert "model 'tiny' has the unknown task summarization. Upgrade bertbundle." in message


def test_interrupt(ner: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends the command with exit code 130, as in a shell, without a traceback."""

    class Interrupted(io.StringIO):
        def __iter__(self) -> Iterator[str]:  # type: ignore[override]
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", Interrupted())
    assert main(["predict", *ner]) == 130


# ---- as a process


def run_process(*arguments: str, text: str | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command as a process."""
    return subprocess.run(
        [*COMMAND, *arguments], input=text, capture_output=True, encoding="utf-8", timeout=60, check=False, **options
    )


@pytest.mark.parametrize("texts", [pytest.param(3, id="few"), pytest.param(3000, id="many")])
def test_closed_pipe(ner: list[str], tmp_path: Path, texts: int) -> None:
    """If the reader of the output exits, as in `| head`, the command ends with code 0 and without a message."""
    source = tmp_path / "texts"
    source.write_text("wang lives in ber today\n" * texts)
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    command = [*COMMAND, "predict", *ner, "--json"]
    with source.open() as stdin:
        process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=buffered)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(60) == 0


def test_output_encoding_without_a_character(ner: list[str]) -> None:
    """Characters that the output encoding does not have are escaped, and JSON stays valid."""
    environment = {"PYTHONIOENCODING": "ascii", "PATH": ""}
    result = run_process("predict", *ner, "--json", "北京 😀", env=environment)
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout)["entities"][0]["text"] == "北京"
    table = run_process("predict", *ner, "北京", env=environment)
    assert (table.returncode, table.stderr) == (0, "")
    assert "\\u5317" in table.stdout


def test_argument_that_is_not_utf8(ner: list[str]) -> None:
    """An argument that is not valid UTF-8 is reported in one line."""
    command: Sequence[bytes | str] = [*COMMAND, "predict", *ner, b"\xff\xfe"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert result.stderr == (
        "bertbundle: text 0 is not valid Unicode: lone surrogate '\\udcff' at position 0. "
        "Decode it from its bytes again, or drop the character.\n"
    )


def test_version() -> None:
    """--version prints name and version."""
    assert run_process("--version").stdout == f"bertbundle {bertbundle.__version__}\n"


@pytest.fixture(scope="module")
def live(embedded: Callable[..., str]) -> list[str]:
    """The connection flags of a `bertbundle-serve` process."""
    return ["--server", embedded(), "--model", "tiny"]


@pytest.mark.slow
def test_live_predict(live: list[str]) -> None:
    """With a server process, the texts of standard input are answered as JSON lines with entities."""
    result = run_process("predict", *live, "--json", text="Wang lives in 北京\ntoday\n")
    assert (result.returncode, result.stderr) == (0, "")
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert [(entity["label"], entity["text"]) for entity in first["entities"]] == [("PER", "Wang"), ("LOC", "北京")]
    assert second["entities"] == []


@pytest.mark.slow
def test_live_info(live: list[str]) -> None:
    """The manifest is fetched from the server process."""
    assert json.loads(run_process("info", *live, "--json").stdout)["labels"][1] == "B-PER"


@pytest.mark.slow
def test_live_status(live: list[str]) -> None:
    """The version of the server process is available."""
    assert run_process("status", *live).stdout.splitlines()[1].split() == ["1", "AVAILABLE", "OK"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--model", "other", "wang"], "NOT_FOUND: Servable not found", id="model"),
        pytest.param(["a " * 50, "--truncation", "error"], "text 0 has 52 tokens", id="too-long"),
        pytest.param([""], "text 0 is empty", id="empty"),
    ],
)
def test_live_errors(live: list[str], arguments: list[str], message: str) -> None:
    """With a server process, an error is one line on stderr and exit code 2."""
    result = run_process("predict", *live, *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.slow
def test_live_tensor_content(embedded: Callable[..., str]) -> None:
    """The answers of a server that sends tensor_content, also for strings, are decoded."""
    flags = ["--server", embedded("--enable_serialization_as_tensor_content"), "--model", "tiny"]
    result = run_process("predict", *flags, "--json", "wang")
    assert [entity["text"] for entity in json.loads(result.stdout)["entities"]] == ["wang"]
