"""The commands and the Python example of docs/evaluation.md, with a small model behind a server."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import bertbundle
from bertbundle.cli.main import main
from documents import read_blocks
from fakes import FakeServer, FakeTransport, Model, connect, predict_method, status_method

BLOCKS = read_blocks("docs/evaluation.md")
COMMANDS = [command for block in BLOCKS if block.language == "sh" for command in block.commands]


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the files of the page; it is the working directory."""
    files = {
        "entities.jsonl": json.dumps({"text": "in Berlin", "spans": [[3, 9, "LOC"]]}),
        "last-week.txt": "wang lives\nin berlin\n",
        "this-week.txt": "in berlin\nin berlin\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def address() -> Iterator[str]:
    """The address of a server of the small model, which answers to any name."""
    server = FakeServer(predict_method(Model()), status_method)
    yield server.address
    server.stop()


@pytest.fixture
def run(address: str, capsys: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    """Return a function that runs a command of the page and returns its output, which > writes to a file."""

    def run(command: str) -> str:
        line, _, target = command.partition(" > ")
        program, *arguments = shlex.split(line)
        assert program == "bertbundle"
        at = [argument.replace("localhost:8500", address).replace("ner", "tiny") for argument in arguments]
        named = [] if "--server" in at else ["--server", address]
        code = main([*at, *named])
        out, err = capsys.readouterr()
        assert (code, err) == (0, ""), command
        if target:
            Path(target).write_text(out, encoding="utf-8")
        return out

    return run


def test_commands(run: Callable[[str], str], directory: Path) -> None:
    """Each command of the page, in order, succeeds; those with > or --html write the file that they name."""
    plain = "".join(f"{word} B-{label}\n" for word, label in (("Wang", "PER"), ("Berlin", "LOC")))
    outputs = []
    for command in COMMANDS:
        renames = "--rename" in command
        content = "Wang B-PERSON\nX B-MISC\n" if renames else plain
        (directory / "test.conll").write_text(content, encoding="utf-8")
        outputs.append(run(command))
    assert len(outputs) == 7
    assert "micro average" in outputs[0]
    assert json.loads((directory / "report.json").read_text(encoding="utf-8"))["main"] == "f1_micro"
    assert "<h1>tiny, version 1</h1>" in (directory / "report.html").read_text(encoding="utf-8")
    assert outputs[-1].splitlines()[-5].startswith("labels ")


def test_python_example(directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The example prints the micro-averaged F1."""
    (directory / "test.conll").write_text("Wang B-PER\nlives O\n", encoding="utf-8")
    monkeypatch.setattr(bertbundle, "Client", lambda *_: connect(FakeTransport()))
    (code,) = [block.text for block in BLOCKS if block.language == "python"]
    variables: dict[str, Any] = {}
    exec(code, variables)  # noqa: S102
    assert capsys.readouterr().out == "1.0\n"
