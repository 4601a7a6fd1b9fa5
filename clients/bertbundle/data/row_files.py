"""Read files of rows one row at a time: txt, JSONL, CSV, and Parquet if pyarrow is installed."""

from __future__ import annotations

import csv
import functools
import io
import itertools
import json
import os
import string
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

from bertbundle.data.arrow_values import python_rows
from bertbundle.data.text_files import check_byte_order_mark
from bertbundle.errors import InputError

__all__ = ["FILE_FORMATS", "FileFormat", "Row", "RowReader", "detect_format", "import_pyarrow", "read_lines"]

_TEXT_COLUMN = "text"
"""Name of the only column of a txt file."""
_PARQUET_BATCH_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file.

    Attributes:
        number: index of the row in the file, from 0; for a file of lines, of the line. Blank rows are counted.
        columns: values by column name; empty if the row is malformed.
        error: why the row is malformed; "" if it is well-formed.
        raw: the row as it was in the file, to report an error.
        line: the line where the row begins, from 1; 0 in a file without lines.
    """

    number: int
    columns: Mapping[str, Any]
    error: str = ""
    raw: Any = None
    line: int = 0


def _txt_row(number: int, line: str) -> Row:
    return Row(number, {_TEXT_COLUMN: line}, raw=line, line=number + 1)


def _json_row(number: int, line: str) -> Row:
    try:
        value = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        return Row(number, {}, f"not JSON: {_json_problem(error)}", line, number + 1)
    if not isinstance(value, dict):
        return Row(number, {}, f"not a JSON object but {type(value).__name__}", line, number + 1)
    return Row(number, value, raw=value, line=number + 1)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value, write null or a text")


def _json_problem(error: Exception) -> str:
    """Return what is wrong with one line of JSON; the decoder would call it line 1."""
    return f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)


_LINE_FORMATS: Mapping[str, Callable[[int, str], Row]] = {"txt": _txt_row, "jsonl": _json_row}
"""The formats with a row in each line."""


def read_lines(lines: Iterable[tuple[int, bytes]], file_format: str) -> Iterator[Row]:
    """Yield a row for each line, decoded by itself, so that only a line that is not UTF-8 becomes a malformed row.

    Blank lines of JSONL are skipped; those of txt are empty texts.

    Args:
        lines: the number of each row, 0 for the first line of the file, and its line.
        file_format: "txt" or "jsonl".

    Raises:
        InputError: the file is UTF-16.
    """
    make_row = _LINE_FORMATS[file_format]
    for number, data in lines:
        data = _without_mark(data) if number == 0 else data
        if file_format == "jsonl" and not data.strip():
            continue
        try:
            yield make_row(number, data.decode("utf-8").rstrip("\r\n"))
        except UnicodeDecodeError as error:
            yield Row(number, {}, f"not UTF-8: {error.reason} at byte {error.start}", repr(data), number + 1)


def _without_mark(first_line: bytes) -> bytes:
    check_byte_order_mark("the file", first_line)
    return first_line.removeprefix(b"\xef\xbb\xbf")


class _CsvLines:
    """Iterates over the lines of a CSV file, and knows whether the last one is blank."""

    def __init__(self, text: Iterable[str]) -> None:
        self._text, self._last = text, ""

    def __iter__(self) -> Iterator[str]:
        for line in self._text:
            self._last = line
            yield line

    def at_blank(self) -> bool:
        """Return whether the last line is blank; within a quoted cell, no row ends with such a line."""
        return not self._last.strip(string.whitespace)


def _read_csv(file: IO[bytes]) -> Iterator[Row]:
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    csv.field_size_limit(2**31 - 1)
    lines = _CsvLines(text)
    reader = csv.reader(lines, strict=True)
    line = 1
    try:
        header: list[str] = next((cells for cells in reader if not lines.at_blank()), [])
        line = reader.line_num + 1
        _check_header(header)
        for number, cells in enumerate(reader):
            if not lines.at_blank():
                yield _csv_row(number, header, cells, line)
            line = reader.line_num + 1
    except csv.Error as error:
        begin = f" in the row that begins in line {line}" if line < reader.line_num else ""
        raise InputError(
            f"line {reader.line_num} is not CSV: {error}{begin}. Correct it; the lines after it cannot be read."
        ) from error
    finally:
        text.detach()  # the caller closes the file


def _check_header(header: list[str]) -> None:
    check_byte_order_mark("the file", header[0].encode("utf-8", "surrogateescape") if header else b"")
    if problem := _not_utf8(header):
        raise InputError(f"the header is {problem}. Convert the file, for example with iconv.")
    twice = [name for index, name in enumerate(header) if name and name in header[:index]]
    if twice:
        raise InputError(f"line 1 has the column {twice[0]!r} twice. Rename or remove one of them.")


def _csv_row(number: int, header: list[str], cells: list[str], line: int) -> Row:
    if problem := _not_utf8(cells):
        escaped = [cell.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for cell in cells]
        return Row(number, {}, problem, escaped, line)
    if len(cells) != len(header):
        return Row(number, {}, f"{len(cells)} cells, the header has {len(header)}", cells, line)
    return Row(number, dict(zip(header, cells, strict=True)), raw=cells, line=line)


def _not_utf8(cells: list[str]) -> str:
    """Return what is wrong with the first cell with bytes that could not be decoded; "" if there is none."""
    for index, cell in enumerate(cells, start=1):
        if not cell.isascii():
            try:
                cell.encode("utf-8", "surrogateescape").decode("utf-8")
            except UnicodeDecodeError as error:
                return f"not UTF-8: {error.reason} at byte {error.start} of cell {index}"
    return ""


def _read_parquet(file: IO[bytes]) -> Iterator[Row]:
    arrow, parquet = import_pyarrow()
    if not file.seekable():
        raise InputError("Parquet cannot be read from a pipe: its index is at the end. Pass a file.")
    try:
        batches = parquet.ParquetFile(file).iter_batches(batch_size=_PARQUET_BATCH_ROWS)
        rows = itertools.chain.from_iterable(map(python_rows, batches))
        for number, (columns, problem) in enumerate(rows):
            yield Row(number, {} if problem else columns, problem, columns)
    except (arrow.ArrowException, OSError) as error:
        raise InputError(f"the file cannot be read as Parquet: {error}") from error


def import_pyarrow() -> tuple[Any, Any]:
    """Return pyarrow and its module for Parquet.

    Raises:
        InputError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise InputError("Parquet needs pyarrow: pip install 'bertbundle[parquet]'.") from error
    return pa, parquet


# ---- how much of a file has been read


def _fraction_of_bytes(file: IO[bytes], rows: int) -> float:
    """Return the fraction of the file's bytes that has been read; to count the rows, the file would be read twice."""
    del rows
    return file.tell() / max(os.fstat(file.fileno()).st_size, 1)


def _fraction_of_rows(file: IO[bytes], rows: int) -> float:
    return rows / max(_count_parquet_rows(file.name), 1)


@functools.cache
def _count_parquet_rows(path: str) -> int:
    return int(import_pyarrow()[1].read_metadata(path).num_rows)


@dataclass(frozen=True, slots=True)
class FileFormat:
    """How to read a file format.

    Attributes:
        read: yields the rows of an open file.
        fraction_read: returns the fraction of an open file that has been read, given the number of rows read so far.
    """

    read: Callable[[IO[bytes]], Iterator[Row]]
    fraction_read: Callable[[IO[bytes], int], float] = _fraction_of_bytes


FILE_FORMATS: Mapping[str, FileFormat] = {
    "txt": FileFormat(lambda file: read_lines(enumerate(file), "txt")),
    "jsonl": FileFormat(lambda file: read_lines(enumerate(file), "jsonl")),
    "csv": FileFormat(_read_csv),
    "parquet": FileFormat(_read_parquet, _fraction_of_rows),
}
"""Each supported format, by file name suffix."""


def detect_format(path: str, chosen: str | None) -> str:
    """Return the chosen format, or else the format for the file name's suffix; txt for standard input.

    Raises:
        InputError: no format was chosen, and the suffix is unknown.
    """
    suffix = "txt" if path == "-" else Path(path).suffix.removeprefix(".").lower()
    name = chosen or {"ndjson": "jsonl"}.get(suffix, suffix)
    if name not in FILE_FORMATS:
        raise InputError(
            f"{path} does not have one of the suffixes {', '.join(FILE_FORMATS)}. Pass --format (format= in Python)."
        )
    return name


class RowReader:
    """Iterates over the rows of a file, or of standard input for the path ``-``."""

    def __init__(self, path: str, file_format: str) -> None:
        """Prepare to read; the file is opened by the iteration."""
        self._path, self._format = path, FILE_FORMATS[file_format]
        self._file: IO[bytes] | None = None
        self._rows = 0

    def __iter__(self) -> Iterator[Row]:
        name = "standard input" if self._path == "-" else self._path
        try:
            with sys.stdin.buffer if self._path == "-" else Path(self._path).open("rb") as self._file:
                for row in self._format.read(self._file):
                    self._rows += 1
                    yield row
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
        except OSError as error:
            raise InputError(f"{name} cannot be read: {error.strerror or error}.") from error

    def fraction_read(self) -> float | None:
        """Return the fraction of the file that has been read, in [0, 1]; None if unknown, as for standard input."""
        if self._path == "-" or self._file is None or self._file.closed:
            return None
        return self._format.fraction_read(self._file, self._rows)
