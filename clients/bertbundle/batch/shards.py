"""Cut input files into shards: byte ranges of lines, row groups of Parquet, or whole files."""

from __future__ import annotations

import contextlib
import itertools
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import IO, Any

from bertbundle.batch.annotator import Annotator
from bertbundle.batch.rows import RowColumns
from bertbundle.batch.store_interface import FileInfo, Store
from bertbundle.data.row_files import FILE_FORMATS, Row, detect_format, import_pyarrow, read_lines
from bertbundle.errors import InputError

__all__ = ["Shard", "format_of_files", "plan_shards", "read_shard", "read_shard_batches"]

_ROWS_PER_BATCH = 8192
_CHECKED_ROWS = 1024
_PARALLEL_READS = 16
_PARTITION = re.compile(r"/(\w+=[^/]*)/")
"""A directory of a partitioned table, as Hive and Spark write them."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of an input file.

    Attributes:
        number: index among all shards of the job.
        file: the file, as it was when the job was planned.
        start, stop: the lines that begin in this range of bytes, or the row groups of Parquet; all of a CSV file.
        first_row: index of its first row in a Parquet file; 0 otherwise.
    """

    number: int
    file: FileInfo
    start: int = 0
    stop: int = 0
    first_row: int = 0

    def __str__(self) -> str:
        return f"{self.file.path} [{self.start}:{self.stop}]"


def format_of_files(source: str, files: Sequence[FileInfo], chosen: str | None) -> str:
    """Return the format of the files of a directory, a glob, or a file.

    Raises:
        InputError: there are none, their formats differ, or a suffix is unknown.
    """
    if not files:
        raise InputError(f"{source} has no files. Pass a directory with files, or a glob.")
    if partition := next(filter(None, (_PARTITION.search(file.path.removeprefix(source)) for file in files)), None):
        _logger.warning("directories such as %r are no columns: the output has those of the files", partition[1])
    formats: dict[str, str] = {}
    for file in files:
        formats.setdefault(detect_format(file.path, chosen), file.path)
    if len(formats) > 1:
        (first, one), (second, other) = list(formats.items())[:2]
        raise InputError(
            f"{one} is {first}, {other} is {second}. Pass a glob of files with one format, as '*.{first}'."
        )
    return next(iter(formats))


def plan_shards(
    store: Store, files: Sequence[FileInfo], file_format: str, annotator: Annotator, shard_bytes: int
) -> list[Shard]:
    """Return the shards of files, after a check of the columns of each.

    Raises:
        InputError: a file cannot be read, lacks a column, or has another schema than the first.
    """
    if file_format == "parquet":
        shards = _plan_parquet(store, files, annotator, shard_bytes)
    else:
        with ThreadPoolExecutor(_PARALLEL_READS) as pool:
            list(pool.map(lambda file: _check_first_rows(store, file, file_format, annotator.columns), files))
        size = None if file_format == "csv" else shard_bytes  # a quoted cell may have line breaks
        shards = itertools.chain.from_iterable(_byte_ranges(file, size) for file in files)
    return [replace(shard, number=number) for number, shard in enumerate(shards)]


def _byte_ranges(file: FileInfo, size: int | None) -> Iterator[Shard]:
    for start in range(0, file.size, size or max(file.size, 1)):
        yield Shard(0, file, start, min(start + size, file.size) if size else file.size)


def _check_first_rows(store: Store, file: FileInfo, file_format: str, columns: RowColumns) -> None:
    with store.open(file.path) as content:
        rows = _read_file(file.path, content, file_format)
        columns.check(list(itertools.islice(rows, _CHECKED_ROWS)), file.path)


def _read_file(path: str, content: IO[bytes], file_format: str) -> Iterator[Row]:
    """Yield the rows of a whole file; put its name in front of a message."""
    try:
        yield from FILE_FORMATS[file_format].read(content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


# ---- Parquet


def _plan_parquet(store: Store, files: Sequence[FileInfo], annotator: Annotator, shard_bytes: int) -> Iterable[Shard]:
    with ThreadPoolExecutor(_PARALLEL_READS) as pool:
        footers = list(pool.map(lambda file: _footer(store, file), files))
    (first_schema, _), first = footers[0], files[0]
    _check_schema(first, first_schema, annotator)
    for file, (schema, _) in zip(files, footers, strict=True):
        if not schema.equals(first_schema):
            raise InputError(_difference(first, first_schema, file, schema))
    return itertools.chain.from_iterable(
        _row_groups(file, groups, shard_bytes) for file, (_, groups) in zip(files, footers, strict=True)
    )


def _footer(store: Store, file: FileInfo) -> tuple[Any, list[tuple[int, int]]]:
    """Return the schema of a file, and the rows and bytes of each row group."""
    arrow, parquet = import_pyarrow()
    with store.open(file.path) as content:
        try:
            found = parquet.ParquetFile(content)
            groups = [found.metadata.row_group(index) for index in range(found.num_row_groups)]
            return found.schema_arrow.remove_metadata(), [(group.num_rows, group.total_byte_size) for group in groups]
        except (arrow.ArrowException, OSError) as error:
            raise InputError(f"{file.path} cannot be read as Parquet: {error}") from error


def _check_schema(file: FileInfo, schema: Any, annotator: Annotator) -> None:
    try:
        annotator.output_schema(schema)
    except InputError as error:
        raise InputError(f"{file.path}: {error}") from error


def _difference(first: FileInfo, expected: Any, file: FileInfo, schema: Any) -> str:
    """Return a message about the first field in which a schema differs."""
    pairs = itertools.zip_longest(expected, schema)
    ours, theirs = next(pair for pair in pairs if pair[0] is None or pair[1] is None or not pair[0].equals(pair[1]))
    names = [_describe(field) for field in (theirs, ours)]
    return f"{file.path} has {names[0]}, {first.path} has {names[1]}. Give all files the same columns."


def _describe(field: Any) -> str:
    if field is None:
        return "no further column"
    return f"{field.name}: {field.type}{'' if field.nullable else ' not null'}"


def _row_groups(file: FileInfo, groups: Sequence[tuple[int, int]], size: int) -> Iterator[Shard]:
    """Yield shards of row groups that have about `size` bytes together."""
    start = first_row = rows = total = 0
    for index, (group_rows, group_bytes) in enumerate(groups):
        rows, total = rows + group_rows, total + group_bytes
        if total >= size or index == len(groups) - 1:
            yield Shard(0, file, start, index + 1, first_row)
            start, first_row, rows, total = index + 1, first_row + rows, 0, 0


# ---- reading


def read_shard(store: Store, shard: Shard, file_format: str) -> Iterator[Row]:
    """Yield the rows of a shard of txt, JSONL or CSV. The number of a row is its index in a CSV, else its first byte.

    Raises:
        InputError: the file cannot be read, or was changed.
    """
    with _opened(store, shard) as content:
        if file_format == "csv":
            yield from _read_file(shard.file.path, content, file_format)
        else:
            yield from read_lines(_lines(content, shard), file_format)


@contextlib.contextmanager
def _opened(store: Store, shard: Shard) -> Iterator[IO[bytes]]:
    """Open the file of a shard; check before and after reading that it is the one that the job was planned with."""
    _check_unchanged(store, shard)
    with store.open(shard.file.path) as content:
        yield content
    _check_unchanged(store, shard)


def _check_unchanged(store: Store, shard: Shard) -> None:
    (found,) = store.find(shard.file.path) or (None,)
    if found != shard.file:
        raise InputError(f"{shard.file.path} was changed while the job ran.")


def _lines(content: IO[bytes], shard: Shard) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that begin within the shard, each with the position of its first byte."""
    position = shard.start
    if position:
        content.seek(position - 1)
        position += len(content.readline()) - 1
    while position < shard.stop and (line := content.readline()):
        yield position, line
        position += len(line)


def read_shard_batches(store: Store, shard: Shard) -> Iterator[Any]:
    """Yield the record batches of a shard of Parquet.

    Raises:
        InputError: the file cannot be read, or was changed.
    """
    arrow, parquet = import_pyarrow()
    with _opened(store, shard) as content:
        try:
            groups = list(range(shard.start, shard.stop))
            yield from parquet.ParquetFile(content).iter_batches(_ROWS_PER_BATCH, row_groups=groups)
        except (arrow.ArrowException, OSError) as error:
            raise InputError(f"{shard} cannot be read as Parquet: {error}") from error
