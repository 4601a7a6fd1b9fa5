"""Files of rows, read one at a time and never whole: txt, JSONL, CSV, and Parquet where pyarrow is installed."""

from __future__ import annotations

import csv
import functools
import io
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bertbundle.errors import InputError

__all__ = ["FORMATS", "Format", "Row", "Source", "format_of"]

TEXT = "text"
"""The column that a line of a txt file is."""
_ROWS_AT_A_TIME = 1024


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file.

    Attributes:
        number: its place in the file, from 0; of a txt file the line.
        columns: its values by column name; empty if it cannot be read.
        problem: why it cannot be read, "" if it can.
        raw: what it is in the file, for the one that has to mend it.
    """

    number: int
    columns: Mapping[str, Any]
    problem: str = ""
    raw: Any = None


def _txt(file: IO[bytes]) -> Iterator[Row]:
    for number, line in _lines(file):
        yield line if isinstance(line, Row) else Row(number, {TEXT: line}, raw=line)


def _jsonl(file: IO[bytes]) -> Iterator[Row]:
    for number, line in _lines(file):
        yield line if isinstance(line, Row) else _object(number, line)


def _object(number: int, line: str) -> Row:
    try:
        value = json.loads(line)
    except ValueError as error:
        return Row(number, {}, f"not JSON: {error}", line)
    if not isinstance(value, dict):
        return Row(number, {}, f"not a JSON object but {type(value).__name__}", line)
    return Row(number, value, raw=value)


def _lines(file: IO[bytes]) -> Iterator[tuple[int, str | Row]]:
    """Decode line by line: one line that is not UTF-8 spoils no other."""
    for number, data in enumerate(file):
        data = data.removeprefix(b"\xef\xbb\xbf") if number == 0 else data
        try:
            yield number, data.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            yield number, Row(number, {}, f"not UTF-8: {error.reason} at byte {error.start}", repr(data))


def _csv(file: IO[bytes]) -> Iterator[Row]:
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="backslashreplace", newline="")
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(text, strict=True)
    try:
        heads = next(reader, [])
        for number, cells in enumerate(reader):
            yield _record(number, heads, cells)
    except csv.Error as error:
        raise InputError(
            f"line {reader.line_num} is not CSV: {error}. Mend it; nothing after it can be read."
        ) from error
    finally:
        text.detach()  # the file is its opener's to close


def _record(number: int, heads: list[str], cells: list[str]) -> Row:
    if len(cells) != len(heads):
        return Row(number, {}, f"{len(cells)} cells, the header has {len(heads)}", cells)
    return Row(number, dict(zip(heads, cells, strict=True)), raw=cells)


def _parquet(file: IO[bytes]) -> Iterator[Row]:
    arrow, parquet = _pyarrow()
    if not file.seekable():
        raise InputError("Parquet cannot be read from a pipe: its index is at the end. Give a file.")
    try:
        batches = parquet.ParquetFile(file).iter_batches(batch_size=_ROWS_AT_A_TIME)
        rows = itertools.chain.from_iterable(batch.to_pylist() for batch in batches)
        for number, columns in enumerate(rows):
            yield Row(number, columns, raw=columns)
    except (arrow.ArrowException, OSError) as error:
        raise InputError(f"{getattr(file, 'name', 'the file')} cannot be read as Parquet: {error}") from error


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise InputError("Parquet needs pyarrow: pip install 'bertbundle[parquet]'.") from error
    return pa, parquet


# ---- how far


def _share_of_bytes(file: IO[bytes], rows: int) -> float:
    """Return what share of a file's bytes has been read: to count its rows would be to read it twice."""
    del rows
    return file.tell() / max(os.fstat(file.fileno()).st_size, 1)


def _share_of_rows(file: IO[bytes], rows: int) -> float:
    return rows / max(_parquet_rows(file.name), 1)


@functools.cache
def _parquet_rows(path: str) -> int:
    return int(_pyarrow()[1].read_metadata(path).num_rows)


@dataclass(frozen=True, slots=True)
class Format:
    """How a kind of file is read.

    Attributes:
        read: gives the rows of an open file, one at a time.
        share: what share of it is read, with so many rows; in [0, 1].
    """

    read: Callable[[IO[bytes]], Iterator[Row]]
    share: Callable[[IO[bytes], int], float] = _share_of_bytes


FORMATS: Mapping[str, Format] = {
    "txt": Format(_txt),
    "jsonl": Format(_jsonl),
    "csv": Format(_csv),
    "parquet": Format(_parquet, _share_of_rows),
}
"""Each format, by the name's suffix."""


def format_of(path: str, chosen: str | None) -> str:
    """Return the format of a file: as chosen, or by its suffix; txt for standard input.

    Raises:
        InputError: the suffix is none of them.
    """
    suffix = "txt" if path == "-" else Path(path).suffix.removeprefix(".").lower()
    found = chosen or {"ndjson": "jsonl"}.get(suffix, suffix)
    if found not in FORMATS:
        raise InputError(f"{path} has no suffix of {', '.join(FORMATS)}. Say which it is with --format.")
    return found


class Source:
    """The rows of a file, or of standard input as ``-``, one at a time."""

    def __init__(self, path: str, kind: str) -> None:
        """Open nothing yet."""
        self._path, self._format = path, FORMATS[kind]
        self._file: IO[bytes] | None = None
        self._rows = 0

    def __iter__(self) -> Iterator[Row]:
        with sys.stdin.buffer if self._path == "-" else Path(self._path).open("rb") as self._file:
            for row in self._format.read(self._file):
                self._rows += 1
                yield row

    def share(self) -> float | None:
        """Return what share of the rows has been given, in [0, 1]; None where nobody knows."""
        if self._path == "-" or self._file is None or self._file.closed:
            return None
        return self._format.share(self._file, self._rows)
