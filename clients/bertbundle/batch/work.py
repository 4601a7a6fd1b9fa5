"""Compute one shard: what every engine runs on its workers."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from bertbundle.batch.annotator import Annotator
from bertbundle.batch.connection import BundleIdentity
from bertbundle.batch.results import ERROR_COLUMN
from bertbundle.batch.rows import json_line, reject_reason
from bertbundle.batch.shards import Shard, read_shard, read_shard_batches
from bertbundle.batch.store import open_store
from bertbundle.batch.store_interface import Store
from bertbundle.data.arrow_values import python_rows
from bertbundle.data.row_files import Row, import_pyarrow
from bertbundle.errors import InputError, ServerError

__all__ = ["REJECTS", "SHARDS", "Counts", "ShardWork"]

SHARDS, REJECTS = "_shards", "_rejects"
"""Directories of the output: the counts of finished shards, and the rows without an answer."""
_ROWS_PER_CHUNK = 2048


@dataclass(frozen=True, slots=True)
class Counts:
    """The number of rows, and of those without an answer."""

    rows: int = 0
    rejected: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.rows + other.rows, self.rejected + other.rejected)


@dataclass(frozen=True, slots=True)
class ShardWork:
    """What a worker needs to compute shards of a job; picklable.

    Attributes:
        annotator: answers the texts, with exactly the version of `identity`.
        output: directory or URI of the output.
        format: format of the input; the output is Parquet for Parquet, JSON lines otherwise.
        identity: the model that the job was planned with.
        fingerprint: fingerprint of the job, its model and its input files.
    """

    annotator: Annotator
    output: str
    format: str
    identity: BundleIdentity
    fingerprint: str

    def name(self, shard: Shard) -> str:
        """Return the name of a shard's files, the same in every run of the job."""
        content = f"{self.fingerprint} {shard.file.path} {shard.start} {shard.stop}"
        digest = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()  # a name may be any bytes
        return f"part-{shard.number:06}-{digest[:12]}"

    def path(self, *names: str) -> str:
        """Return the path of a file of the output."""
        return "/".join((self.output.rstrip("/"), *names))

    def counts(self, shard: Shard) -> Counts | None:
        """Return the counts of a finished shard; None if it is not finished, or its files are not as it wrote them."""
        store, path = open_store(self.output), self.path(SHARDS, f"{self.name(shard)}.json")
        if not store.find(path):
            return None
        try:
            with store.open(path) as file:
                found = json.load(file)
            counts, sizes = Counts(found["rows"], found["rejected"]), found["bytes"]
        except (ValueError, KeyError, TypeError):  # not what this wrote
            return None
        return counts if sizes == self._sizes(store, shard) else None

    def compute(self, shard: Shard) -> Counts:
        """Write the part file of a shard and return its counts; a finished shard is not computed again.

        Raises:
            InputError: a file cannot be read or written.
            ServerError: the model did not answer, after all attempts. The message names the shard.
        """
        if done := self.counts(shard):
            return done
        store = open_store(self.output)
        try:
            counts = self._write(store, shard)
        except InputError:
            if done := self.counts(shard):  # by another run, which has deleted what was not finished
                return done
            raise
        except ServerError as error:
            raise type(error)(f"{shard}: {error}", code=error.code, details=error.details) from error
        except OSError as error:  # for example a full disk
            raise InputError(f"{shard} to {self.output}: {error.strerror or error}.") from error
        place = {"file": shard.file.path, "start": shard.start, "stop": shard.stop}
        record = {**asdict(counts), **place, "bytes": self._sizes(store, shard)}
        store.write(self.path(SHARDS, f"{self.name(shard)}.json"), json.dumps(record).encode())
        return counts

    def _write(self, store: Store, shard: Shard) -> Counts:
        with store.scratch(self.output) as part, store.scratch(self.output) as rejects:
            with rejects.open("wb") as rejected:
                write = _write_parquet if self.format == "parquet" else _write_rows
                counts = write(self.annotator, shard, part, rejected, self.format)
            if counts.rejected:
                store.publish(rejects, self._rejects(shard))
            if counts.rows or part.exists():  # there is none for row groups without rows
                store.publish(part, self._part(shard))
        return counts

    def _sizes(self, store: Store, shard: Shard) -> list[int]:
        """Return the sizes of the files of a shard that exist, of its rows and of those without an answer."""
        return [file.size for path in (self._part(shard), self._rejects(shard)) for file in store.find(path)]

    def _rejects(self, shard: Shard) -> str:
        return self.path(REJECTS, f"{self.name(shard)}.jsonl")

    def _part(self, shard: Shard) -> str:
        return self.path(f"{self.name(shard)}.{'parquet' if self.format == 'parquet' else 'jsonl'}")


def _write_rows(annotator: Annotator, shard: Shard, part: Path, rejects: IO[bytes], file_format: str) -> Counts:
    counts, columns = Counts(), annotator.columns
    with part.open("wb") as file:
        rows = read_shard(open_store(shard.file.path), shard, file_format)
        while chunk := list(itertools.islice(rows, _ROWS_PER_CHUNK)):
            results = annotator.answer_rows([columns.text_of(row) for row in chunk])
            for row, result in zip(chunk, results, strict=True):
                if isinstance(result, InputError):
                    rejects.write(json_line(_reject(shard, row, reject_reason(result), file_format)))
                else:
                    file.write(json_line(columns.with_result(row.columns, result)))
            counts += Counts(len(chunk), sum(isinstance(result, InputError) for result in results))
    return counts


def _reject(shard: Shard, row: Row, reason: str, file_format: str) -> dict[str, Any]:
    """Return a row without an answer as it is reported."""
    position = "row" if file_format in ("csv", "parquet") else "byte"
    return {"file": shard.file.path, position: row.number, "reason": reason, "input": row.raw}


def _write_parquet(annotator: Annotator, shard: Shard, part: Path, rejects: IO[bytes], file_format: str) -> Counts:
    counts = Counts()
    with contextlib.ExitStack() as stack:
        write = functools.cache(lambda schema: stack.enter_context(_parquet_writer(part, schema)))
        for batch in read_shard_batches(open_store(shard.file.path), shard):
            answered = annotator(batch)
            errors = answered.column(ERROR_COLUMN)
            table = _answered_rows(answered, errors).drop_columns([ERROR_COLUMN])
            write(table.schema).write_table(table)
            for row in _failed_rows(batch, errors, shard.first_row + counts.rows):
                rejects.write(json_line(_reject(shard, row, row.error, file_format)))
            counts += Counts(len(batch), len(batch) - len(table))
    return counts


def _answered_rows(batch: Any, errors: Any) -> Any:
    """Return the rows without an error; slices of them, because Arrow cannot filter all types."""
    table = import_pyarrow()[0].Table
    is_answered, rows, slices = errors.is_null().to_pylist(), 0, []
    for answered, run in itertools.groupby(is_answered):
        length = len(list(run))
        slices += [batch.slice(rows, length)] if answered else []
        rows += length
    return table.from_batches(slices, schema=batch.schema)


def _parquet_writer(part: Path, schema: Any) -> Any:
    return import_pyarrow()[1].ParquetWriter(part, schema)


def _failed_rows(batch: Any, errors: Any, first_row: int) -> Iterator[Row]:
    for index, error in enumerate(errors.to_pylist()):
        if error is not None:
            ((raw, _),) = python_rows(batch.slice(index, 1))
            yield Row(first_row + index, {}, error, raw)
