"""`bertbundle bulk`: formats, columns, bad rows, and runs that are ended and taken up again."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bertbundle.cli import main
from chaos import ChaosProxy

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


def test_parquet(bulk: Run, tmp_path: Path) -> None:
    """Parquet is read row by row, if pyarrow is there."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"text": ["Wang", "a"], "n": [1, 2]}), tmp_path / "in.parquet")
    assert bulk(tmp_path / "in.parquet", "--output", tmp_path / "out.jsonl")[0] == 0
    assert [row["n"] for row in lines(tmp_path / "out.jsonl")] == [1, 2]


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
