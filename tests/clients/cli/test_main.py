"""The `bertbundle` command: in this process against a fake server, and as a process."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import bertbundle
from bertbundle.cli import formatting as show
from bertbundle.cli.bench import Load, drawer
from bertbundle.cli.main import main
from bertbundle.contract.manifest import ParityRow
from bertbundle.contract.types import Classification, Entity
from optional import require_package

if TYPE_CHECKING:
    from tests.clients.conftest import FakeServer

    Fakes = Any
    Run = Callable[..., str]

COMMAND = [sys.executable, "-m", "bertbundle"]


@pytest.fixture
def serve(fakes: Fakes, start: Callable[..., FakeServer]) -> Callable[..., str]:
    """Serve a small model of a task under the name ``tiny``; gives the address."""

    def serve(task: str = "token-classification", **changes: Any) -> str:
        model = fakes.Model(fakes.make_manifest(task, **changes))
        return start(fakes.answers_of(model), fakes.available).address

    return serve


@pytest.fixture
def ner(serve: Callable[..., str]) -> list[str]:
    """Flags that ask a token classification model."""
    return ["--server", serve(), "--model", "tiny"]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process, check that it succeeds in silence, return what it prints."""

    def run(*arguments: str) -> str:
        code = main(arguments)
        out, err = capsys.readouterr()
        assert (code, err) == (0, "")
        return out

    return run


@pytest.fixture
def fail(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process, check that it ends with code 2 and one line on stderr, return that."""

    def fail(*arguments: str) -> str:
        try:
            code: Any = main(arguments)
        except SystemExit as stop:  # argparse's way
            code = stop.code
        out, err = capsys.readouterr()
        assert code == 2
        assert out == ""
        assert err.startswith("bertbundle")
        assert err.count("\n") == 1
        assert err.endswith("\n")
        return err

    return fail


# ---- predict


def test_entity_table(run: Run, ner: list[str]) -> None:
    """Entities are a table: one row each, the text at its first row, "(none)" where there are none."""
    out = run("predict", *ner, "Wang lives in 北京", "today")
    assert out.splitlines() == [
        "text                label  entity  score   start  end",
        "Wang lives in 北京  PER    Wang    0.5400  0      4",
        "                    LOC    北京    0.6450  14     16",
        "today               -      (none)  0.0000  0      0",
    ]


def test_json_lines(run: Run, ner: list[str]) -> None:
    """With --json each text is one line of JSON, in order, with offsets and unrounded scores."""
    lines = [json.loads(line) for line in run("predict", *ner, "--json", "Wang lives in 北京", "today").splitlines()]
    assert [line["text"] for line in lines] == ["Wang lives in 北京", "today"]
    person, place = lines[0]["entities"]
    assert person == {"label": "PER", "text": "Wang", "start": 0, "end": 4, "score": pytest.approx(0.54)}
    assert place["text"] == lines[0]["text"][place["start"] : place["end"]] == "北京"
    assert lines[1]["entities"] == []


def test_class_table(run: Run, serve: Callable[..., str]) -> None:
    """Classes are a table, best first, the ones that hold marked."""
    out = run("predict", "--server", serve("text-classification"), "--model", "tiny", "wang")
    assert out.splitlines() == [
        "text     label    score",
        "wang  *  perhaps  0.7500",
        "         yes      0.5000",
        "         no       0.2500",
    ]


def test_class_json_of_a_pair(run: Run, serve: Callable[..., str]) -> None:
    """--pair gives every text its second text."""
    address = serve("text-classification")
    (line,) = run("predict", "--server", address, "--model", "tiny", "--json", "--pair", "in", "wang").splitlines()
    assert json.loads(line) == {
        "text": "wang",
        "label": "perhaps",
        "score": 0.75,
        "labels": ["perhaps"],
        "scores": {"perhaps": 0.75, "yes": 0.5, "no": 0.25},
    }


def test_embeddings(run: Run, serve: Callable[..., str]) -> None:
    """Embeddings are their similarities in the table, and the vectors in JSON."""
    ask = ["predict", "--server", serve("feature-extraction"), "--model", "tiny", "wang", "a b"]
    assert run(*ask).splitlines() == [
        "   text  dimensions  cosine 0  cosine 1",
        "0  wang  2           1.0000    0.9162",  # of (4, 3) and (17, 4), by hand: 80 / (5 * 17.4642)
        "1  a b   2           0.9162    1.0000",
    ]
    assert [json.loads(line)["embedding"] for line in run(*ask, "--json").splitlines()] == [[4, 3], [17, 4]]


def test_texts_of_standard_input(run: Run, ner: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a text each line of standard input is one, of any line ending."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("wang\r\n北京\ntoday"))
    texts = [json.loads(line)["text"] for line in run("predict", *ner, "--json").splitlines()]
    assert texts == ["wang", "北京", "today"]


def test_a_long_pipe(run: Run, ner: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe is answered in turns and in order; a byte order mark and empty lines are no text."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("\ufeff" + "wang\n\n北京 today\n" * 150))
    texts = [json.loads(line)["text"] for line in run("predict", *ner, "--json").splitlines()]
    assert texts == ["wang", "北京 today"] * 150


def test_a_wrong_line_far_down_a_pipe(fail: Run, ner: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The message counts from where the turn began."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("wang\n" * 70 + "wang " * 50))
    assert "of the texts from 64 on, text 6 has 52 tokens" in fail("predict", *ner, "--truncation", "error")


def test_truncation(run: Run, fail: Run, ner: list[str]) -> None:
    """A text that is too long is answered from windows, or is an error, or is cut, as --truncation says."""
    text = "wang " * 50
    assert "text 0 has 52 tokens" in fail("predict", *ner, "--truncation", "error", text)
    assert run("predict", *ner, "--json", text).count('"PER"') == 50
    assert run("predict", *ner, "--truncation", "truncate", "--json", text).count('"PER"') == 10


def _width_of(line: str) -> int:
    return sum(2 if "\u2e80" <= char <= "\uffef" or char > "\U0001f000" else 1 for char in line if char != "\u0301")


def test_wide_characters_align() -> None:
    """Columns begin at the same place of a terminal, whatever the width of what is before them."""
    texts = ["ascii", "北京大学", "ｆｕｌｌ", "e\u0301e\u0301", "😀"]
    entity = Entity("X", "x", 0, 1, 1.0)
    head, *rows = show._entity_table(texts, [[entity]] * len(texts))
    columns = {_width_of(row[: row.index(" X ")]) for row in rows}
    assert columns == {head.index("label") - 1}


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
    """A character takes two columns if it is wide and none if it is a mark upon another."""
    assert show._width(text) == width


def test_control_characters_do_nothing() -> None:
    """A text with an escape sequence or a line break moves neither the cursor nor the table."""
    lines = list(show._class_table(["a\x1b[2J\nb\tc"], [Classification("x", 1.0, ("x",), {"x": 1.0})]))
    assert lines[1] == "a [2J b c  *  x      1.0000"


# ---- info and status


def test_info(run: Run, ner: list[str]) -> None:
    """What the model says of itself is shown, and is the manifest in JSON."""
    out = run("info", *ner)
    assert "signatures  serving_default [batch, 12], length_4 [batch, 4], length_8 [batch, 8]" in out
    assert "labels      O, B-PER, I-PER, B-LOC, I-LOC" in out
    assert json.loads(run("info", *ner, "--json"))["max_length"] == 12


def test_parity_is_the_worst(run: Run, serve: Callable[..., str]) -> None:
    """Parity is shown once for each format and output: the worst of all signatures."""
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


def test_status(run: Run, ner: list[str]) -> None:
    """Each version's state is a row, or a line of JSON."""
    assert run("status", *ner).splitlines() == [
        "version  state      error             message",
        "2        LOADING    OK",
        "1        AVAILABLE  OK",
        "0        END        INVALID_ARGUMENT  no model.onnx",
    ]
    lines = [json.loads(line) for line in run("status", *ner, "--json").splitlines()]
    assert lines[1] == {"version": 1, "state": "AVAILABLE", "error": "OK", "message": ""}


# ---- bench and completion


def test_bench(run: Run, ner: list[str]) -> None:
    """A load test says how many calls were answered and how long they took, as text with a plot and as JSON."""
    figures = json.loads(run("bench", *ner, "--seconds", "0.3", "--concurrency", "2", "--json", "Wang", "a"))
    assert figures["calls"] >= 2
    assert figures["errors"] == {}
    assert 0 < figures["latency_ms"]["p50"] <= figures["latency_ms"]["max"]
    head, latency, *bars = run("bench", *ner, "--seconds", "0.2", "--batch", "2", "Wang", "a").splitlines()
    assert "errors: none" in head
    assert "p99" in latency
    calls = int(head.split()[0])
    assert sum(int(bar.split()[-1]) for bar in bars) == calls


def test_question_answering(run: Run, serve: Callable[..., str]) -> None:
    """Questions and their context can be answered, and measured; the table has the score of "no answer", too."""
    reader = ["--server", serve("question-answering"), "--model", "tiny", "--pair", "lives in Berlin", "wang"]
    head, row = run("predict", *reader).splitlines()
    assert head.split() == ["question", "answer", "score", "start", "end", "no", "answer"]
    assert row.split()[:2] == ["wang", "Berlin"]
    assert json.loads(run("bench", *reader, "--seconds", "0.1", "--json"))["calls"] > 0


def test_bench_percentiles() -> None:
    """A percentile is the latency that its share of the calls did not exceed."""
    load = Load(2.0, tuple(each / 100 for each in range(1, 101)), 200, {"UNAVAILABLE": 3})
    assert (load.percentile(0.5), load.percentile(0.99), load.percentile(1.0)) == (0.5, 0.99, 1.0)
    assert load.to_dict()["texts_per_second"] == 100.0
    empty = Load(1.0, (), 0, {"UNAVAILABLE": 3})
    assert empty.to_dict()["latency_ms"] is None
    assert empty.lines() == ["0 calls, 0.0 texts/s, errors: {'UNAVAILABLE': 3}"]


def test_bench_picture_needs_matplotlib(fail: Run, ner: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without matplotlib the message says what to install."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    message = fail("bench", *ner, "--seconds", "60", "--png", "x.png", "a")
    assert "pip install 'bertbundle[bench]'" in message


@pytest.mark.parametrize("seconds", [(0.1, 0.2, 0.2, 5.0), (0.1,), ()], ids=["four", "one", "none"])
def test_bench_picture(tmp_path: Path, seconds: tuple[float, ...]) -> None:
    """The distribution is drawn as a PNG, also of one call or of none."""
    require_package("matplotlib")
    drawer(str(tmp_path / "x.png"))(Load(2.0, seconds, len(seconds), {}))
    data = (tmp_path / "x.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")  # source: RFC 2083, section 3.1
    assert [int.from_bytes(data[start : start + 4], "big") for start in (16, 20)] == [1050, 600]


def test_bench_draws(run: Run, fail: Run, ner: list[str], tmp_path: Path) -> None:
    """The command draws what it measured; a suffix of no picture is refused before the load."""
    require_package("matplotlib")
    assert "errors: none" in run("bench", *ner, "--seconds", "0.1", "--png", str(tmp_path / "x.png"), "a")
    assert (tmp_path / "x.png").stat().st_size > 1000
    assert "x.foo has no suffix of " in fail("bench", *ner, "--seconds", "60", "--png", "x.foo", "a")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(run: Run, shell: str) -> None:
    """A completion script has all commands and their options."""
    script = run("completion", shell)
    assert all(word in script for word in ("predict", "bulk", "--resume", "--truncation"))


def test_completion_completes() -> None:
    """Bash completes an option of a command by the script."""
    code = f"""eval "$({sys.executable} -m bertbundle completion bash)"
    COMP_WORDS=(bertbundle bulk --res); COMP_CWORD=2; _bertbundle; echo "${{COMPREPLY[@]}}" """
    result = subprocess.run(["bash", "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout == "--resume\n"


def test_entities_in_their_text(run: Run, ner: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal entities are coloured in the text, with their labels; elsewhere, or with NO_COLOR, never."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b" not in run("predict", *ner, "Wang lives")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    out = run("predict", *ner, "Wang lives")
    assert re.sub(r"\x1b\[[0-9;]*m", "", out) == "Wang PER lives\n"
    assert out != "Wang PER lives\n"
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in run("predict", *ner, "Wang lives")


# ---- what goes wrong


def test_no_server(fail: Run) -> None:
    """A server that is not there is one line with the address and the next step."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        message = fail("predict", "--server", address, "--model", "tiny", "wang")
    assert message.startswith(f"bertbundle: {address} answered UNAVAILABLE: ")
    assert "Is a server running there" in message


def test_wrong_model(fail: Run, serve: Callable[..., str]) -> None:
    """A model name the server does not know is one line with the name and the next step."""
    message = fail("predict", "--server", serve(), "--model", "other", "wang")
    assert "NOT_FOUND: Servable not found for request: Latest(other). Check the model name" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([""], "text 0 is empty", id="empty"),
        pytest.param(["wang", " "], "text 1 is empty", id="blank"),
        pytest.param(["a " * 11, "--truncation", "error"], "text 0 has 13 tokens", id="too-long"),
        pytest.param(["a\nb\udcff"], "text 0 is not valid Unicode", id="not-unicode"),
        pytest.param(["\u200b"], "text 0 holds nothing the tokenizer keeps: '\\u200b'", id="nothing-left"),
        pytest.param(["wang", "--pair", "in"], "which takes single texts: leave --pair out", id="pair"),
        pytest.param(["wang", "--ca", "none.pem"], "--ca none.pem cannot be read: No such file", id="ca-missing"),
        pytest.param(["wang", "--ca", "."], "--ca . cannot be read: Is a directory", id="ca-directory"),
        pytest.param(["wang", "--ca", __file__], "is not usable: root_certificates hold no PEM", id="ca-not-pem"),
        pytest.param(["wang", "--cert", __file__], "--cert and --key go together", id="cert-without-key"),
        pytest.param(["wang", "--token-file", "none"], "--token-file none cannot be read: No such", id="token"),
        pytest.param(["wang", "--timeout", "soon"], "expected a positive number of seconds, got 'soon'", id="timeout"),
        pytest.param(["wang", "--timeout", "-1"], "expected a positive number of seconds, got '-1'", id="negative"),
        pytest.param(["wang", "--timeout", "0"], "expected a positive number of seconds, got '0'", id="zero"),
        pytest.param(["wang", "--timeout", "inf"], "expected a positive number of seconds, got 'inf'", id="inf"),
        pytest.param(["wang", "--timeout", "nan"], "expected a positive number of seconds, got 'nan'", id="nan"),
        pytest.param(["wang", "--truncation", "cut"], "invalid choice: 'cut'", id="truncation"),
        pytest.param(["wang", "--verbose"], "unrecognized arguments: --verbose", id="unknown-flag"),
    ],
)
def test_one_line_for_what_is_wrong(fail: Run, ner: list[str], arguments: list[str], message: str) -> None:
    """Whatever is wrong with a command is one line on stderr, exit code 2 and no traceback."""
    assert message in fail("predict", *ner, *arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([], "COMMAND", id="no-command"),
        pytest.param(["dance"], "invalid choice: 'dance'", id="unknown-command"),
        pytest.param(["predict", "wang"], "required: --model", id="no-model"),
        pytest.param(["info", "--model", ""], "--model: expected a name, got nothing", id="empty-model"),
        pytest.param(["info", "--model", "a", "--server", ""], "--server: expected a name", id="empty-server"),
    ],
)
def test_incomplete_commands(fail: Run, arguments: list[str], message: str) -> None:
    """A command that lacks something says what, and where to read more."""
    line = fail(*arguments)
    assert message in line
    assert line.endswith("--help.\n")


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--model", "\udcff"], id="model"),
        pytest.param(["--model", "tiny", "--server", "\udcff:1"], id="server"),
    ],
)
def test_names_that_are_not_unicode(fail: Run, arguments: list[str]) -> None:
    """A model name or address of bytes that are not UTF-8 is one line too."""
    assert "is not valid Unicode" in fail("status", *arguments)


def test_no_answer_allowed(run: Run, fakes: Fakes, start: Callable[..., FakeServer]) -> None:
    """--allow-no-answer takes [CLS], where that is likelier than all spans, for no answer."""
    sure_of_none = {name: lambda inputs: 9.0 * (inputs["input_ids"] == 2) for name in ("start_logits", "end_logits")}
    model = fakes.Model(fakes.make_manifest("question-answering"), change=sure_of_none)
    server = start(fakes.answers_of(model)).address
    pair = ["--server", server, "--model", "tiny", "--json", "--pair", "a b c", "--hedge-after", "9", "wang"]
    found, none = (json.loads(run("predict", *pair, *flags))["answer"] for flags in ([], ["--allow-no-answer"]))
    assert (found["text"], none["text"]) == ("a", "")


def test_no_answer_of_another_task(fail: Run, ner: list[str]) -> None:
    """--allow-no-answer is refused where there are no questions."""
    assert "does token-classification: leave --allow-no-answer out" in fail("predict", *ner, "--allow-no-answer", "a")


def test_an_address_that_is_none(fail: Run) -> None:
    """An address without a port is one line."""
    assert "expected host:port of a gRPC server, got 'localhost'" in fail(
        "info", "--model", "a", "--server", "localhost"
    )


def test_no_texts(fail: Run, ner: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """No text as argument and an empty standard input is an error that says where texts come from."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert "no text was given. Pass one as an argument, or lines on standard input." in fail("predict", *ner)


def test_standard_input_of_another_encoding(fail: Run, ner: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard input that is not in the encoding of the terminal is one line."""
    latin = io.TextIOWrapper(io.BytesIO("café".encode("latin-1")), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", latin)
    assert "standard input is not utf-8: " in fail("predict", *ner)


def test_a_task_of_the_future(fail: Run, serve: Callable[..., str]) -> None:
    """A task the command does not know says to upgrade."""
    message = fail("predict", "--server", serve("summarization"), "--model", "tiny", "wang")
    assert "model 'tiny' does summarization, which this command does not know. Upgrade bertbundle." in message


def test_interrupted(ner: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends with code 130, as shells do, without a traceback."""

    class Interrupted(io.StringIO):
        def __iter__(self) -> Iterator[str]:  # type: ignore[override]
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", Interrupted())
    assert main(["predict", *ner]) == 130


# ---- as a process


def ask(*arguments: str, text: str | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command as a process."""
    return subprocess.run(
        [*COMMAND, *arguments], input=text, capture_output=True, encoding="utf-8", timeout=60, check=False, **options
    )


@pytest.mark.parametrize("texts", [pytest.param(3, id="little"), pytest.param(3000, id="much")])
def test_reader_that_goes_away(ner: list[str], tmp_path: Path, texts: int) -> None:
    """When the reader of the output goes, `| head`, the command ends with code 0 and says nothing."""
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


def test_output_that_cannot_show_a_character(ner: list[str]) -> None:
    """On a terminal without Chinese the answer comes all the same, with escapes, and JSON stays JSON."""
    environment = {"PYTHONIOENCODING": "ascii", "PATH": ""}
    result = ask("predict", *ner, "--json", "北京 😀", env=environment)
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout)["entities"][0]["text"] == "北京"
    table = ask("predict", *ner, "北京", env=environment)
    assert (table.returncode, table.stderr) == (0, "")
    assert "\\u5317" in table.stdout


def test_bytes_that_are_not_text(ner: list[str]) -> None:
    """An argument of bytes that are not UTF-8 is one line."""
    command: Sequence[bytes | str] = [*COMMAND, "predict", *ner, b"\xff\xfe"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert result.stderr == (
        "bertbundle: text 0 is not valid Unicode: lone surrogate '\\udcff' at position 0. "
        "Decode it from its bytes again, or drop the character.\n"
    )


def test_version() -> None:
    """--version prints name and version."""
    assert ask("--version").stdout == f"bertbundle {bertbundle.__version__}\n"


@pytest.fixture(scope="module")
def live(embedded: Callable[..., str]) -> list[str]:
    """Flags that ask `bertbundle-serve`, a process too."""
    return ["--server", embedded(), "--model", "tiny"]


@pytest.mark.slow
def test_live_predict(live: list[str]) -> None:
    """Texts of standard input come back as JSON lines with entities."""
    result = ask("predict", *live, "--json", text="Wang lives in 北京\ntoday\n")
    assert (result.returncode, result.stderr) == (0, "")
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert [(entity["label"], entity["text"]) for entity in first["entities"]] == [("PER", "Wang"), ("LOC", "北京")]
    assert second["entities"] == []


@pytest.mark.slow
def test_live_info(live: list[str]) -> None:
    """The manifest comes from the server."""
    assert json.loads(ask("info", *live, "--json").stdout)["labels"][1] == "B-PER"


@pytest.mark.slow
def test_live_status(live: list[str]) -> None:
    """The version is available."""
    assert ask("status", *live).stdout.splitlines()[1].split() == ["1", "AVAILABLE", "OK"]


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
    """What goes wrong is one line on stderr and code 2."""
    result = ask("predict", *live, *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.slow
def test_live_both_encodings(embedded: Callable[..., str]) -> None:
    """A server that answers with tensor_content, strings too, is understood alike."""
    flags = ["--server", embedded("--enable_serialization_as_tensor_content"), "--model", "tiny"]
    assert [e["text"] for e in json.loads(ask("predict", *flags, "--json", "wang").stdout)["entities"]] == ["wang"]
