"""`bertbundle bulk`: interrupted and resumed runs, and output that is not overwritten."""

from __future__ import annotations

import io
import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bertbundle import ServerUnavailable
from bertbundle._shared.commands import ROWS_REJECTED
from bertbundle.batch import Annotator
from bertbundle.cli import bulk as bulk_module
from bertbundle.cli import main as main_module
from bulk_files import entity_texts, read_json_lines, write_rows
from chaos import ChaosProxy
from fakes import write_bundle

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("file_format", ["txt", "jsonl", "csv", "parquet"])
def test_resume(bulk: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file_format: str) -> None:
    """A run that was interrupted within a chunk and resumed writes the same files as one that was not interrupted."""
    monkeypatch.setattr(bulk_module, "ROWS_PER_CHUNK", 8)
    texts = [f"Wang {'a' * (index % 3)}" if index % 5 else "" for index in range(60)]
    if file_format in ("csv", "parquet"):
        texts = [text and f'{text}\n"in", Berlin' for text in texts]
    source = write_rows(tmp_path / f"in.{file_format}", texts)
    whole, resumed = tmp_path / "whole.jsonl", tmp_path / "resumed.jsonl"
    assert bulk(source, "--output", whole)[0] == ROWS_REJECTED
    chunks = itertools.count()

    def answer(*arguments: Any) -> Any:
        if next(chunks) == 3:
            raise KeyboardInterrupt
        return answer_rows(*arguments)

    answer_rows = Annotator.answer_rows
    monkeypatch.setattr(Annotator, "answer_rows", answer)
    assert bulk(source, "--output", resumed)[0] == 130
    monkeypatch.undo()
    for path in (resumed, Path(f"{resumed}.rejects")):
        with path.open("ab") as file:
            file.write(b'{"half a li')
    code, _, err = bulk(source, "--output", resumed, "--resume")
    assert (code, err.split(",")[:2]) == (ROWS_REJECTED, ["60 rows", " 12 rejected"])
    assert resumed.read_bytes() == whole.read_bytes()
    assert Path(f"{resumed}.rejects").read_bytes() == Path(f"{whole}.rejects").read_bytes()


def test_resume_after_blank_lines(bulk: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blank lines are not counted as rows, and a run over them that was interrupted anywhere continues at its row."""
    monkeypatch.setattr(bulk_module, "ROWS_PER_CHUNK", 2)
    source, answer_rows = tmp_path / "in.jsonl", Annotator.answer_rows
    source.write_text("".join(f'\n{{"id": {index}, "text": "Wang"}}\n\n' for index in range(7)))
    for after in range(4):
        output, chunks = tmp_path / f"out{after}.jsonl", itertools.count()

        def answer(*arguments: Any, chunks: Iterator[int] = chunks, after: int = after) -> Any:
            if next(chunks) == after:
                raise KeyboardInterrupt
            return answer_rows(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(Annotator, "answer_rows", answer)
            assert bulk(source, "--output", output)[0] == 130
        code, _, err = bulk(source, "--output", output, "--resume")
        assert (code, err.split(",")[:2]) == (0, ["7 rows", " 0 rejected"])
        assert [row["id"] for row in read_json_lines(output)] == list(range(7))


def test_texts_without_a_result(serve: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A text with more spans than the model returns is rejected with that reason; the others are answered."""
    source, output = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text("lives in Berlin\n" + "wang " * 6 + "\nWang\n")
    flags = ["--server", serve("span-classification"), "--model", "tiny", "--output", str(output)]
    assert main_module.main(["bulk", *flags, str(source)]) == ROWS_REJECTED
    assert "3 rows, 1 rejected" in capsys.readouterr().err
    assert [[entity["text"] for entity in row["entities"]] for row in read_json_lines(output)] == [
        ["in Berlin", "Berlin"],
        ["Wang"],
    ]
    (rejected,) = read_json_lines(Path(f"{output}.rejects"))
    assert "a text has 6 spans, this model returns at most 4" in json.dumps(rejected)


def test_resume_of_an_older_version(bulk: Run, tmp_path: Path) -> None:
    """A run that was interrupted with 0.1.0, which counted blank lines as rows, is resumed from its progress file."""
    source, output, rejects = tmp_path / "in.jsonl", tmp_path / "out.jsonl", tmp_path / "out.jsonl.rejects"
    source.write_text('{"text": "Wang lives"}\n\n{"text": "Wang"}\n')
    output.write_text('{"row": 0}\n')
    rejects.write_text("")
    job: dict[str, Any] = {"source": str(source), "kind": "jsonl", "output": str(output), "rejects": str(rejects)}
    job |= {"text": "text", "pair": None, "keep": None, "source_size": source.stat().st_size}
    progress = {"rows": 2, "answered": 1, "rejected": 1, "sizes": {str(output): 11, str(rejects): 0}, "job": job}
    Path(f"{output}.progress").write_text(json.dumps(progress))
    assert bulk(source, "--output", output, "--resume")[0] == ROWS_REJECTED
    assert [row.get("text") for row in read_json_lines(output)] == [None, "Wang"]


def test_unavailable_server(bulk: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the server becomes unavailable, the message says how many rows are done and how to continue."""

    def fail(*_: Any) -> Any:
        raise ServerUnavailable("call to localhost:1 failed with UNAVAILABLE.", code="UNAVAILABLE")

    monkeypatch.setattr(Annotator, "answer_rows", fail)
    source = write_rows(tmp_path / "in.txt", ["Wang"])
    code, _, err = bulk(source, "--output", tmp_path / "out.jsonl")
    message = "bertbundle: call to localhost:1 failed with UNAVAILABLE. 0 rows are done; continue with --resume.\n"
    assert (code, err) == (2, message)
    assert bulk(source)[2].endswith("0 rows are done.\n")


def test_wrong_column(bulk: Run, tmp_path: Path) -> None:
    """A column that no row has is one message, and nothing is written; a row without it is rejected."""
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"body": "Wang"}\n{"body": "Wang", "title": "a"}\n')
    code, _, err = bulk(source, "--output", output)
    message = f"{source} has no column 'text', the row has body: name the column with --text (text= in Python)."
    assert (code, err) == (2, f"bertbundle: {message}\n")
    assert list(tmp_path.iterdir()) == [source]
    assert bulk(source, "--output", output, "--text", "title")[0] == ROWS_REJECTED
    assert [row["body"] for row in read_json_lines(output)] == ["Wang"]


def test_resume_with_another_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run is not resumed with another model or option, nor after its input was changed: answers would mix."""
    source, output, models = tmp_path / "in.txt", tmp_path / "out.jsonl", tmp_path / "tiny"
    source.write_text("Wang\n")
    write_bundle(models)
    write_bundle(models, 2)

    def fail(*_: Any) -> Any:
        raise KeyboardInterrupt

    def run(version: int, *flags: str) -> tuple[int, str]:
        command = ["bulk", str(source), "--output", str(output), "--bundle", str(models / str(version)), *flags]
        return main_module.main(command), capsys.readouterr().err

    with monkeypatch.context() as patch:
        patch.setattr(Annotator, "answer_rows", fail)
        assert run(1)[0] == 130
    assert "another job: its model version is 1, not 2" in run(2, "--resume")[1]
    assert "another job: its truncation is None, not 'error'" in run(1, "--resume", "--truncation", "error")[1]
    state = source.stat()
    source.write_text("Wong\n")
    assert "another job: its source changed is" in run(1, "--resume")[1]
    os.utime(source, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert run(1, "--resume")[0] == 0


def test_two_runs_at_once(bulk: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second run on the same output is refused, and the first one writes each row once."""
    source, output = write_rows(tmp_path / "in.txt", ["Wang", "Berlin"]), tmp_path / "out.jsonl"
    answer_rows, messages = Annotator.answer_rows, list[str]()

    def answer(*arguments: Any) -> Any:
        monkeypatch.setattr(Annotator, "answer_rows", answer_rows)
        messages.extend(bulk(source, "--output", output, flag)[2] for flag in ("--resume", "--overwrite"))
        return answer_rows(*arguments)

    monkeypatch.setattr(Annotator, "answer_rows", answer)
    assert bulk(source, "--output", output)[0] == 0
    assert [f"another run is writing {output}" in message for message in messages] == [True, True]
    assert entity_texts(read_json_lines(output)) == [["Wang"], ["Berlin"]]


def test_files_that_are_one(bulk: Run, tmp_path: Path) -> None:
    """Input, output and rejects must be different files: the input would be overwritten."""
    source = write_rows(tmp_path / "in.txt", ["Wang"])
    for flags in (["--output", source], ["--output", tmp_path / "out", "--rejects", tmp_path / "out"]):
        assert "must be different files" in bulk(source, *flags, "--overwrite")[2]
    assert source.read_text().strip() == "Wang"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "column 'entities' has the name of a result: rename it"),
        (["--keep", "nope"], "no column 'nope', the row has"),
    ],
)
def test_columns_that_cannot_be_kept(bulk: Run, tmp_path: Path, flags: list[str], message: str) -> None:
    """A column that a result would replace, and one of --keep that no row has, are errors."""
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "Wang", "entities": "gold"}\n')
    code, _, err = bulk(source, "--output", tmp_path / "out.jsonl", *flags)
    assert code == 2
    assert message in err
    assert bulk(source, "--output", tmp_path / "out2.jsonl", "--keep", "text")[0] == 0


def test_standard_input_and_output(bulk: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default, rows come from standard input, answers go to standard output, and rejects to standard error."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"Wang\n\nBerlin\n")))
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="utf-8", write_through=True))
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    assert bulk()[0] == ROWS_REJECTED
    assert [json.loads(line)["text"] for line in written.getvalue().splitlines()] == ["Wang", "Berlin"]
    assert stderr.getvalue().startswith("row 1: the text is empty")


def test_existing_output_is_kept(bulk: Run, tmp_path: Path) -> None:
    """Existing output is overwritten only with --overwrite, and a complete run is not resumed."""
    source, output = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text("Wang\n")
    output.write_text("precious\n")
    code, _, err = bulk(source, "--output", output)
    assert (code, output.read_text()) == (2, "precious\n")
    assert "already exists. Continue it with --resume, or start over with --overwrite." in err
    message = bulk(source, "--output", output, "--resume")[2]
    assert "is already complete. Start over with --overwrite." in message
    assert bulk(source, "--output", output, "--overwrite")[0] == 0
    assert entity_texts(read_json_lines(output)) == [["Wang"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["none.txt"], "none.txt cannot be read: No such file", id="missing"),
        pytest.param(["a.docx"], "does not have one of the suffixes txt, jsonl, csv, parquet", id="suffix"),
        pytest.param(["none.txt", "--resume"], "--resume needs an output file", id="resume"),
        pytest.param(["none.txt", "--pair", "b"], "which takes single texts: omit --pair", id="pair"),
    ],
)
def test_invalid_options(bulk: Run, arguments: list[str], message: str) -> None:
    """An option that cannot be used is an error with code 2."""
    code, _, err = bulk(*arguments)
    assert code == 2
    assert message in err


@pytest.fixture
def unreliable(ner: list[str]) -> Iterator[str]:
    """The address of a proxy that sometimes resets connections to the server or truncates responses."""
    address = ner[1]
    proxy = ChaosProxy(address, seed=1, faults=("pass",) * 30 + ("reset", "truncate", "delay"))
    yield proxy.address
    proxy.close()


def makes_progress(process: subprocess.Popen[str], output: Path) -> bool:
    """Wait until the process has saved some progress; return False if it ends before."""
    path = Path(f"{output}.progress")
    before = path.read_bytes() if path.exists() else b""
    while process.poll() is None:
        if path.exists() and path.read_bytes() != before and b'"rows": 0' not in path.read_bytes():
            return True
        time.sleep(0.01)
    return False


@pytest.mark.slow
def test_twenty_kills(unreliable: str, tmp_path: Path) -> None:
    """After twenty kills over an unreliable network, the output has each row once, in order, with its answer."""
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    texts = [("Wang lives" if index % 3 else "in Berlin") if index % 50 else "" for index in range(30_000)]
    source.write_text("".join(json.dumps({"id": index, "text": text}) + "\n" for index, text in enumerate(texts)))
    command = [sys.executable, "-m", "bertbundle", "bulk", "--server", unreliable, "--model", "tiny", "--timeout", "10"]
    command += [str(source), "--output", str(output), "--resume"]
    random_pause = random.Random(7)  # noqa: S311 - repeatable
    kills = 0
    end = time.monotonic() + 400
    while time.monotonic() < end:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        if kills < 20 and makes_progress(process, output):
            time.sleep(random_pause.uniform(0, 0.05))
            process.kill()
            process.communicate()
            kills += 1
            continue
        _, err = process.communicate(timeout=300)
        if process.returncode == ROWS_REJECTED:
            break
        assert "failed with" in err  # a network error; --resume continues
    assert kills == 20
    rows, rejects = read_json_lines(output), read_json_lines(tmp_path / "out.jsonl.rejects")
    assert [row["id"] for row in rows] == [index for index, text in enumerate(texts) if text]
    assert [row["row"] for row in rejects] == [index for index, text in enumerate(texts) if not text]
    assert all(entity_texts([row])[0] == (["Wang"] if "Wang" in row["text"] else ["Berlin"]) for row in rows)
