"""The file formats of `bertbundle bulk`: txt, JSONL, CSV and Parquet, and malformed rows."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bertbundle._shared.commands import ROWS_REJECTED
from bulk_files import entity_texts, read_json_lines, write_rows
from optional import require_package

Run = Callable[..., tuple[int, str, str]]


def test_txt(bulk: Run, tmp_path: Path) -> None:
    """Each line of a txt file is a text, whatever its line ending; the output keeps the order."""
    source, output = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_bytes("\ufeffWang\r\nin Berlin\n王建国 ".encode())
    assert bulk(source, "--output", output)[:2] == (0, "")
    assert [row["text"] for row in read_json_lines(output)] == ["Wang", "in Berlin", "王建国 "]
    assert entity_texts(read_json_lines(output)) == [["Wang"], ["Berlin"], ["王建国"]]
    assert not (tmp_path / "out.jsonl.progress").exists()


def test_csv_with_chosen_columns(bulk: Run, tmp_path: Path) -> None:
    """The --text column of a CSV file is answered, and the --keep columns are copied to the output."""
    source, output = tmp_path / "in.csv", tmp_path / "out.jsonl"
    source.write_text('id,body,note\n7,"Wang, ""in""\nBerlin",x\n8,a,y\n', encoding="utf-8")
    assert bulk(source, "--output", output, "--text", "body", "--keep", "id")[0] == 0
    assert [row["id"] for row in read_json_lines(output)] == ["7", "8"]
    assert entity_texts(read_json_lines(output)) == [["Wang", "Berlin"], []]
    assert set(read_json_lines(output)[0]) == {"id", "entities"}


def test_parquet(bulk: Run, tmp_path: Path) -> None:
    """A Parquet file is read with all its columns, if pyarrow is installed."""
    source = write_rows(tmp_path / "in.parquet", ["Wang", "a\r\nBerlin", ""])
    assert bulk(source, "--output", tmp_path / "out.jsonl")[0] == ROWS_REJECTED
    assert [row["id"] for row in read_json_lines(tmp_path / "out.jsonl")] == [0, 1]
    assert entity_texts(read_json_lines(tmp_path / "out.jsonl")) == [["Wang"], ["Berlin"]]
    assert [row["row"] for row in read_json_lines(tmp_path / "out.jsonl.rejects")] == [2]


def test_parquet_that_python_lacks(bulk: Run, tmp_path: Path) -> None:
    """A Parquet file with dates after 9999 is answered; a row with a string that is not UTF-8 is rejected."""
    pa, parquet = require_package("pyarrow"), require_package("pyarrow.parquet")
    dates, notes = pa.array([3_000_000] * 2, pa.date32()), pa.array([b"ok", b"\xff"]).view(pa.string())
    parquet.write_table(pa.table({"text": ["Wang"] * 2, "date": dates, "note": notes}), tmp_path / "in.parquet")
    assert bulk(tmp_path / "in.parquet", "--output", tmp_path / "out.jsonl")[0] == ROWS_REJECTED
    (row,) = read_json_lines(tmp_path / "out.jsonl")
    assert (row["date"], row["note"]) == ("10183-09-21", "ok")
    (reject,) = read_json_lines(tmp_path / "out.jsonl.rejects")
    assert (reject["row"], reject["reason"], reject["input"]["note"]) == (1, "not UTF-8: column 'note'", "\\xff")


@pytest.mark.parametrize("size", [0, 40, -40], ids=["empty", "beginning-only", "end-missing"])
def test_truncated_parquet(bulk: Run, tmp_path: Path, size: int) -> None:
    """A Parquet file that is empty or truncated is reported in one line."""
    source = write_rows(tmp_path / "in.parquet", ["Wang"] * 50)
    source.write_bytes(source.read_bytes()[:size])
    code, _, err = bulk(source, "--output", tmp_path / "out.jsonl")
    assert code == 2
    assert "in.parquet: the file cannot be read as Parquet: " in err
    assert err.count("\n") == 1


def test_parquet_from_a_pipe(bulk: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parquet, whose index is at the end, is not read from a pipe."""
    require_package("pyarrow")
    reader, writer = os.pipe()
    os.close(writer)
    with os.fdopen(reader) as pipe:
        monkeypatch.setattr(sys, "stdin", pipe)
        code, _, err = bulk("--format", "parquet")
    assert code == 2
    assert "cannot be read from a pipe" in err


def test_parquet_without_pyarrow(bulk: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If pyarrow is not installed, the message says what to install."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "in.parquet").write_bytes(b"")
    code, _, err = bulk(tmp_path / "in.parquet")
    assert code == 2
    assert "pip install 'bertbundle[parquet]'" in err


MALFORMED = [
    pytest.param("jsonl", b'{"text": ', "not JSON", id="json"),
    pytest.param("jsonl", b"[1]", "not a JSON object but list", id="no-object"),
    pytest.param("jsonl", b'{"words": "a"}', "no column 'text', the row has words", id="column"),
    pytest.param("jsonl", b'{"text": 7}', "column 'text' has 7, expected a text", id="number"),
    pytest.param("jsonl", b'{"text": "\\ud800"}', "the text is not valid Unicode", id="surrogate"),
    pytest.param("txt", b"", "the text is empty", id="empty"),
    pytest.param("txt", b"a\xff", "not UTF-8: invalid start byte at byte 1", id="not-utf8"),
    pytest.param("txt", b"\xe2\x80\x8b", "the text has no tokens", id="no-tokens"),
    pytest.param("csv", b"a,b", "2 cells, the header has 1", id="cells"),
    pytest.param(
        "csv", b"wang caf\xe9 in", "not UTF-8: invalid continuation byte at byte 8 of cell 1", id="csv-latin-1"
    ),
    pytest.param("csv", b'""', "the text is empty", id="csv-empty"),
    pytest.param("jsonl", b'{"text": "a", "score": NaN}', "not JSON: NaN is no JSON value", id="nan"),
]


@pytest.mark.parametrize(("file_format", "malformed", "reason"), MALFORMED)
def test_malformed_rows(bulk: Run, tmp_path: Path, file_format: str, malformed: bytes, reason: str) -> None:
    """A row without an answer is written to the rejects with its number and the reason; the others are answered."""
    good = b'{"text": "Wang"}' if file_format == "jsonl" else b"Wang"
    header = [b"text"] if file_format == "csv" else []
    source, output = tmp_path / f"in.{file_format}", tmp_path / "out.jsonl"
    source.write_bytes(b"\n".join([*header, good, malformed, good, b""]))
    code, _, err = bulk(source, "--output", output)
    assert (code, err.split(",")[:2]) == (ROWS_REJECTED, ["3 rows", " 1 rejected"])
    assert entity_texts(read_json_lines(output)) == [["Wang"]] * 2
    (reject,) = read_json_lines(tmp_path / "out.jsonl.rejects")
    assert reject["row"] == 1
    assert reason in reject["reason"]


BLANK_LINES = [
    pytest.param("jsonl", b'\n{"text": "Wang"}\r\n \t\n\n{"text": 7}\n\n', 4, id="jsonl"),
    pytest.param("csv", b'\ntext,id\n\nWang,1\n  \n"Wang\n \n",2\n\r\na\n \n', 5, id="csv"),
]


@pytest.mark.parametrize(("file_format", "content", "rejected"), BLANK_LINES)
def test_blank_lines(bulk: Run, tmp_path: Path, file_format: str, content: bytes, rejected: int) -> None:
    """Blank lines of JSONL and CSV are no rows, but are counted in the index of a rejected row."""
    source, output = tmp_path / f"in.{file_format}", tmp_path / "out.jsonl"
    source.write_bytes(content)
    assert bulk(source, "--output", output)[0] == ROWS_REJECTED
    assert set(map(str, entity_texts(read_json_lines(output)))) == {"['Wang']"}
    assert [row["row"] for row in read_json_lines(tmp_path / "out.jsonl.rejects")] == [rejected]


@pytest.mark.parametrize("file_format", ["txt", "jsonl", "csv"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16(bulk: Run, tmp_path: Path, file_format: str, encoding: str) -> None:
    """A UTF-16 file is refused in one message, as a file and in a job."""
    source = tmp_path / f"in.{file_format}"
    source.write_bytes("\ufefftext\nWang\n".encode(encoding))
    for flags in ([], ["--input"]):
        code, _, err = bulk(*flags, source, "--output", tmp_path / "out")
        message = "the file is UTF-16, expected UTF-8: convert it, for example with iconv."
        assert (code, err) == (2, f"bertbundle: {source}: {message}\n")


def test_csv_header_that_is_not_utf8(bulk: Run, tmp_path: Path) -> None:
    """A CSV file whose column names cannot be read is refused."""
    source = tmp_path / "in.csv"
    source.write_bytes(b"text,\xe9t\xe9\nWang,1\n")
    assert "the header is not UTF-8: invalid continuation byte at byte 0 of cell 2. Convert" in bulk(source)[2]
