"""Files of rows, read one at a time and never whole: txt, JSONL, CSV, and Parquet where pyarrow is installed."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bertbundle.errors import InputError

__all__ = ["FORMATS", "Row", "format_of", "read_rows"]

TEXT = "text"
"""The column that a line of a txt file is."""


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
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise InputError("Parquet needs pyarrow: pip install 'bertbundle[parquet]'.") from error
    number = 0
    for batch in parquet.ParquetFile(file).iter_batches(batch_size=1024):
        for columns in batch.to_pylist():
            yield Row(number, columns, raw=columns)
            number += 1


FORMATS: Mapping[str, Callable[[IO[bytes]], Iterator[Row]]] = {
    "txt": _txt,
    "jsonl": _jsonl,
    "csv": _csv,
    "parquet": _parquet,
}
"""What reads each format, by the name's suffix."""


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


def read_rows(path: str, kind: str) -> Iterator[Row]:
    """Read a file's rows one at a time; ``-`` is standard input."""
    with sys.stdin.buffer if path == "-" else Path(path).open("rb") as file:
        yield from FORMATS[kind](file)
