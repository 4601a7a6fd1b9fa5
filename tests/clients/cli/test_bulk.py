"""`bertbundle bulk`: formats, columns, bad rows, and runs that are ended and taken up again."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from bertbundle import ServerUnavailable
from bertbundle.cli import bulk as bulks
from bertbundle.cli import main as cli
from bertbundle.cli.bulk import Job
from bertbundle.cli.main import main
from chaos import ChaosProxy
from optional import require_package

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def address(fakes: Any, start: Callable[..., Any]) -> str:
    """The address of a server of the small model."""
    found: str = start(fakes.answers_of(fakes.Model()), fakes.available).address
    return found


@pytest.fixture
def bulk(address: str, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``bertbundle bulk`` in this process; gives exit code, standard output and standard error."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        code = main(["bulk", "--server", address, "--model", "tiny", *map(str, arguments)])
        return (code, *capsys.readouterr())

    return run


def lines(path: Path) -> list[Any]:
    """Read JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def found(rows: list[Any]) -> list[list[str]]:
    """Return the texts of each row's entities."""
    return [[entity["text"] for entity in row["entities"]] for row in rows]


def test_txt(bulk: Run, tmp_path: Path) -> None:
    """Each line of a txt file is a text; answers come in order, with a summary on standard error."""
    source, output = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_bytes("\ufeffWang\r\nin Berlin\n王建国 ".encode())
    assert bulk(source, "--output", output)[:2] == (0, "")
    assert [row["text"] for row in lines(output)] == ["Wang", "in Berlin", "王建国 "]
    assert found(lines(output)) == [["Wang"], ["Berlin"], ["王建国"]]
    assert not (tmp_path / "out.jsonl.progress").exists()


def test_csv_with_chosen_columns(bulk: Run, tmp_path: Path) -> None:
    """Of a CSV file a column is answered, and the chosen ones are kept."""
    source, output = tmp_path / "in.csv", tmp_path / "out.jsonl"
    source.write_text('id,body,note\n7,"Wang, ""in""\nBerlin",x\n8,a,y\n', encoding="utf-8")
    assert bulk(source, "--output", output, "--text", "body", "--keep", "id")[0] == 0
    assert [row["id"] for row in lines(output)] == ["7", "8"]
    assert found(lines(output)) == [["Wang", "Berlin"], []]
    assert set(lines(output)[0]) == {"id", "entities"}


def write(path: Path, texts: list[str]) -> Path:
    """Write texts with their numbers as a file of the format that its suffix says; of txt there are no numbers."""
    rows = [{"id": index, "text": text} for index, text in enumerate(texts)]
    if path.suffix == ".parquet":
        pyarrow = require_package("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=10)
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["id", "text"])
            writer.writeheader()
            writer.writerows(rows)
    else:
        lines = texts if path.suffix == ".txt" else map(json.dumps, rows)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_parquet(bulk: Run, tmp_path: Path) -> None:
    """Parquet is read row by row, with all columns, if pyarrow is there."""
    source = write(tmp_path / "in.parquet", ["Wang", "a\r\nBerlin", ""])
    assert bulk(source, "--output", tmp_path / "out.jsonl")[0] == 0
    assert [row["id"] for row in lines(tmp_path / "out.jsonl")] == [0, 1]
    assert found(lines(tmp_path / "out.jsonl")) == [["Wang"], ["Berlin"]]
    assert [row["row"] for row in lines(tmp_path / "out.jsonl.rejects")] == [2]


@pytest.mark.parametrize("cut", [0, 40, -40], ids=["nothing", "head", "tail-missing"])
def test_broken_parquet(bulk: Run, tmp_path: Path, cut: int) -> None:
    """What is no Parquet, or only a part of it, is one line."""
    source = write(tmp_path / "in.parquet", ["Wang"] * 50)
    source.write_bytes(source.read_bytes()[:cut])
    code, _, err = bulk(source, "--output", tmp_path / "out.jsonl")
    assert code == 2
    assert "in.parquet cannot be read as Parquet: " in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv", "parquet"])
def test_taken_up_again(bulk: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Ended in the middle of a part, a run of any format goes on to the same files as one that was not ended."""
    monkeypatch.setattr(bulks, "ROWS_PER_PART", 8)
    texts = [f"Wang {'a' * (index % 3)}" if index % 5 else "" for index in range(60)]
    if kind in ("csv", "parquet"):
        texts = [text and f'{text}\n"in", Berlin' for text in texts]
    source, whole, ended = write(tmp_path / f"in.{kind}", texts), tmp_path / "whole.jsonl", tmp_path / "ended.jsonl"
    assert bulk(source, "--output", whole)[0] == 0
    parts = itertools.count()

    def answer(*arguments: Any) -> Any:
        if next(parts) == 3:
            raise KeyboardInterrupt
        return answer_rows(*arguments)

    answer_rows = cli._answer_rows
    monkeypatch.setattr(cli, "_answer_rows", answer)
    assert bulk(source, "--output", ended)[0] == 130
    monkeypatch.undo()
    for path in (ended, Path(f"{ended}.rejects")):
        with path.open("ab") as file:
            file.write(b'{"half a li')
    code, _, err = bulk(source, "--output", ended, "--resume")
    assert (code, err.split(",")[:2]) == (0, ["60 rows", " 12 rejected"])
    assert ended.read_bytes() == whole.read_bytes()
    assert Path(f"{ended}.rejects").read_bytes() == Path(f"{whole}.rejects").read_bytes()


def test_a_server_that_goes_away(bulk: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the server goes away the message says what is done, and how to go on."""

    def away(*_: Any) -> Any:
        raise ServerUnavailable("localhost:1 answered UNAVAILABLE.", code="UNAVAILABLE")

    monkeypatch.setattr(cli, "_answer_rows", away)
    source = write(tmp_path / "in.txt", ["Wang"])
    code, _, err = bulk(source, "--output", tmp_path / "out.jsonl")
    assert (code, err) == (2, "bertbundle: localhost:1 answered UNAVAILABLE. 0 rows are done, --resume goes on.\n")
    assert bulk(source)[2].endswith("0 rows are done.\n")


def test_lost_answers(bulk: Run, tmp_path: Path) -> None:
    """A run whose answers are gone is not gone on with as if they were there."""
    source, output = write(tmp_path / "in.txt", ["Wang"]), tmp_path / "out.jsonl"
    job = {**asdict(Job(str(source), "txt", str(output), f"{output}.rejects")), "source_size": 5}
    done = {"rows": 1, "answered": 1, "rejected": 0, "sizes": {str(output): 99}, "job": job}
    Path(f"{output}.progress").write_text(json.dumps(done))
    code, _, err = bulk(source, "--output", output, "--resume")
    assert code == 2
    assert "has lost answers that its checkpoint counts" in err


class Terminal(io.StringIO):
    """A terminal that keeps what is written."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def progress(source: str, kind: str) -> list[str]:
    """Run a job of parts of 10 rows, 1 second each, and return what a terminal is told, without its controls."""
    terminal, clock = Terminal(), [0.0]

    def answer(texts: Any) -> Any:
        clock[0] += 1
        return [{} for _ in texts]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulks, "ROWS_PER_PART", 10)
        patch.setattr("time.monotonic", lambda: clock[0])
        bulks.Bulk(Job(source, kind, "-"), answer, resume=False, overwrite=False, log=terminal).run()
    return terminal.getvalue().rstrip("\n").split("\r\x1b[K")[1:]


@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv", "parquet"])
def test_progress(tmp_path: Path, kind: str, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """On a terminal each part says rows, rate, and the time left, which ends at nothing; in any format."""
    told = progress(str(write(tmp_path / f"in.{kind}", ["Wang lives " * 200] * 40)), kind)
    assert [each.split(",")[0] for each in told] == ["10 rows", "20 rows", "30 rows", "40 rows", "40 rows"]
    left = [re.search(r"10 rows/s, 0:00:(\d\d) left", each) for each in told[:-1]]
    assert [int(each[1]) for each in left if each] == pytest.approx([3, 2, 1, 0], abs=1)
    assert told[-1] == "40 rows, 0 rejected, 10 rows/s"
    assert capsysbinary.readouterr().out.count(b"\n") == 40


def test_progress_of_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of standard input nobody knows what is left: the rate alone is told."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"Wang\n" * 20)))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO()))
    assert progress("-", "txt")[0] == "10 rows, 0 rejected, 10 rows/s"


def test_parquet_from_a_pipe(bulk: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parquet, whose index is at its end, is not read from a pipe."""
    require_package("pyarrow")
    reader, writer = os.pipe()
    os.close(writer)
    with os.fdopen(reader) as pipe:
        monkeypatch.setattr(sys, "stdin", pipe)
        code, _, err = bulk("--format", "parquet")
    assert code == 2
    assert "cannot be read from a pipe" in err


def test_summary_as_json(bulk: Run, tmp_path: Path) -> None:
    """With --json the summary is JSON."""
    code, _, err = bulk(write(tmp_path / "in.txt", ["Wang", ""]), "--output", tmp_path / "out.jsonl", "--json")
    summary = json.loads(err)
    assert (code, summary["rows"], summary["answered"], summary["rejected"]) == (0, 2, 1, 1)


def test_parquet_without_pyarrow(bulk: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pyarrow the message says what to install."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "in.parquet").write_bytes(b"")
    code, _, err = bulk(tmp_path / "in.parquet")
    assert code == 2
    assert "pip install 'bertbundle[parquet]'" in err


BAD = [
    pytest.param("jsonl", b'{"text": ', "not JSON", id="json"),
    pytest.param("jsonl", b"[1]", "not a JSON object but list", id="no-object"),
    pytest.param("jsonl", b'{"words": "a"}', "no text in column 'text', the row has words", id="column"),
    pytest.param("jsonl", b'{"text": 7}', "no text in column 'text'", id="number"),
    pytest.param("jsonl", b'{"text": "\\ud800"}', "the text is not valid Unicode", id="surrogate"),
    pytest.param("txt", b"", "the text is empty", id="empty"),
    pytest.param("txt", b"a\xff", "not UTF-8: invalid start byte at byte 1", id="not-utf8"),
    pytest.param("txt", b"\xe2\x80\x8b", "holds nothing the tokenizer keeps", id="nothing"),
    pytest.param("csv", b"a,b", "2 cells, the header has 1", id="cells"),
]


@pytest.mark.parametrize(("kind", "bad", "reason"), BAD)
def test_bad_rows(bulk: Run, tmp_path: Path, kind: str, bad: bytes, reason: str) -> None:
    """A row that has no answer goes to the side file with its place and the reason; the others are answered."""
    good = b'{"text": "Wang"}' if kind == "jsonl" else b"Wang"
    head = [b"text"] if kind == "csv" else []
    source, output = tmp_path / f"in.{kind}", tmp_path / "out.jsonl"
    source.write_bytes(b"\n".join([*head, good, bad, good, b""]))
    code, _, err = bulk(source, "--output", output)
    assert (code, err.split(",")[:2]) == (0, ["3 rows", " 1 rejected"])
    assert found(lines(output)) == [["Wang"]] * 2
    (reject,) = lines(tmp_path / "out.jsonl.rejects")
    assert reject["row"] == 1
    assert reason in reject["reason"]


def test_standard_input_and_output(bulk: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without files rows come from standard input and answers go to standard output, bad rows to standard error."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"Wang\n\nBerlin\n")))
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="utf-8", write_through=True))
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    assert bulk()[0] == 0
    assert [json.loads(line)["text"] for line in written.getvalue().splitlines()] == ["Wang", "Berlin"]
    assert stderr.getvalue().startswith("row 1: the text is empty")


def test_nothing_is_overwritten(bulk: Run, tmp_path: Path) -> None:
    """Answers that are there stay, unless --overwrite is said; a finished run is not taken up."""
    source, output = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text("Wang\n")
    output.write_text("precious\n")
    code, _, err = bulk(source, "--output", output)
    assert (code, output.read_text()) == (2, "precious\n")
    assert "exists. Say --resume" in err
    assert "is there and complete" in bulk(source, "--output", output, "--resume")[2]
    assert bulk(source, "--output", output, "--overwrite")[0] == 0
    assert found(lines(output)) == [["Wang"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["none.txt"], "none.txt cannot be read: No such file", id="missing"),
        pytest.param(["a.docx"], "has no suffix of txt, jsonl, csv, parquet", id="suffix"),
        pytest.param(["none.txt", "--resume"], "goes on with an output file", id="resume"),
        pytest.param(["none.txt", "--pair", "b"], "which takes single texts: leave --pair out", id="pair"),
    ],
)
def test_mistakes(bulk: Run, arguments: list[str], message: str) -> None:
    """A mistake is one line and code 2."""
    code, _, err = bulk(*arguments)
    assert code == 2
    assert message in err


def test_another_job_is_not_taken_up(bulk: Run, tmp_path: Path) -> None:
    """A checkpoint of another source or other columns is not gone on with."""
    source, output = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text("Wang\n")
    (tmp_path / "out.jsonl.progress").write_text('{"job": {"source": "other"}}')
    assert "is of another job" in bulk(source, "--output", output, "--resume")[2]
    (tmp_path / "out.jsonl.progress").write_text("{")
    assert "cannot be read" in bulk(source, "--output", output, "--resume")[2]


@pytest.fixture
def chaotic(address: str) -> Iterator[str]:
    """The server's address behind a proxy that resets and truncates now and then."""
    proxy = ChaosProxy(address, seed=1, fates=("pass",) * 30 + ("reset", "truncate", "delay"))
    yield proxy.address
    proxy.close()


def got_on(process: subprocess.Popen[str], output: Path) -> bool:
    """Wait until a run has noted some progress; tell whether it has before it ended."""
    checkpoint = Path(f"{output}.progress")
    before = checkpoint.read_bytes() if checkpoint.exists() else b""
    while process.poll() is None:
        if checkpoint.exists() and checkpoint.read_bytes() != before and b'"rows": 0' not in checkpoint.read_bytes():
            return True
        time.sleep(0.01)
    return False


@pytest.mark.slow
def test_twenty_kills(chaotic: str, tmp_path: Path) -> None:
    """Killed twenty times, over a network that breaks, a run ends with each row once, in order, right."""
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    texts = [("Wang lives" if index % 3 else "in Berlin") if index % 50 else "" for index in range(50_000)]
    source.write_text("".join(json.dumps({"id": index, "text": text}) + "\n" for index, text in enumerate(texts)))
    command = [sys.executable, "-m", "bertbundle", "bulk", "--server", chaotic, "--model", "tiny", "--timeout", "10"]
    command += [str(source), "--output", str(output), "--resume"]
    chance = random.Random(7)  # noqa: S311 - repeatable
    kills = 0
    end = time.monotonic() + 400
    while time.monotonic() < end:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        if kills < 20 and got_on(process, output):
            time.sleep(chance.uniform(0, 0.05))
            process.kill()
            process.communicate()
            kills += 1
            continue
        _, err = process.communicate(timeout=300)
        if process.returncode == 0:
            break
        assert "answered" in err  # the network; --resume goes on
    assert kills == 20
    rows, rejects = lines(output), lines(tmp_path / "out.jsonl.rejects")
    assert [row["id"] for row in rows] == [index for index, text in enumerate(texts) if text]
    assert [row["row"] for row in rejects] == [index for index, text in enumerate(texts) if not text]
    assert all(found([row])[0] == (["Wang"] if "Wang" in row["text"] else ["Berlin"]) for row in rows)
