"""`bertbundle bulk`: process a file of any size, row by row and in order, and resume a run that was interrupted.

The rows are processed in chunks. After each chunk the output is flushed to disk, and then its size is saved in the
progress file. A resumed run truncates the output to the saved size, so no row is lost or processed twice.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, TypeAlias

from bertbundle.batch.rows import RowColumns, json_line, reject_reason
from bertbundle.cli.progress import Progress, ProgressReport
from bertbundle.data.row_files import Row, RowReader
from bertbundle.errors import InputError, ServerError

__all__ = ["BulkJob", "BulkRun", "check_path", "is_resumable"]

ROWS_PER_CHUNK = 1024
AnswerTexts: TypeAlias = "Callable[[Sequence[Any]], Sequence[dict[str, Any] | InputError]]"
"""A function that answers texts, with an InputError in place of the answer to an invalid text."""


@dataclass(frozen=True, slots=True)
class BulkJob:
    """The options of a bulk job.

    Attributes:
        source: path of the input, or "-" for standard input.
        format: file format of the input.
        output: path of the answers, as JSON lines, or "-" for standard output.
        rejects: path of the rows without an answer, as JSON lines with the reason; None for the log.
        text: column of the text.
        pair: column of the second text of a pair; None for single texts.
        keep: columns to copy to the output; None for all.
        model: what else the answers depend on: model, version and options. A run with others is not resumed.
    """

    source: str
    format: str
    output: str
    rejects: str | None = None
    text: str = "text"
    pair: str | None = None
    keep: tuple[str, ...] | None = None
    model: Mapping[str, Any] = field(default_factory=dict)

    @property
    def progress_path(self) -> Path:
        """The path of the progress file."""
        return Path(self.output + ".progress")


class BulkRun:
    """One run of a bulk job."""

    def __init__(
        self, job: BulkJob, answer: AnswerTexts, *, resume: bool, overwrite: bool, log: IO[str], as_json: bool = False
    ) -> None:
        """Read the progress file if `resume`; progress is reported to `log`, at the end as JSON if `as_json`.

        Raises:
            InputError: the source or the progress file cannot be read, or output exists and `overwrite` is False.
        """
        self._job, self._answer, self._log = job, answer, log
        self._columns = RowColumns(job.text, job.pair, job.keep)
        self._progress = _initial_progress(job, resume=resume, overwrite=overwrite)
        self._reader = RowReader(job.source, job.format)
        self._report = ProgressReport(log, as_json=as_json)

    def run(self) -> int:
        """Process all rows that are not done yet. Return the number of rows without an answer, of all runs of the job.

        Raises:
            InputError: a file cannot be read or written.
            ServerError: the server failed; the output so far is kept, and ``--resume`` continues from there.
        """
        try:
            self._run()
        except BrokenPipeError:  # the reader of standard output has exited
            raise
        except OSError as error:  # for example a full disk
            raise InputError(self._write_problem(error)) from error
        return self._progress.rejected

    def _write_problem(self, error: OSError) -> str:
        output = "standard output" if self._job.output == "-" else self._job.output
        path = error.filename if error.filename in self._paths().values() else output  # not the progress file
        advice = " Finished rows are kept. Continue with --resume." if is_resumable(self._job.output) else ""
        return f"{path} cannot be written: {error.strerror or error}.{advice}"

    def _run(self) -> None:
        first = self._progress.next_row
        rows = itertools.dropwhile(lambda row: row.number < first, self._reader)
        chunk = list(itertools.islice(rows, 1))
        fraction = self._reader.fraction_read() or 0.0
        chunk += itertools.islice(rows, ROWS_PER_CHUNK - 1)
        if not self._progress.rows:  # before anything is written
            self._columns.check(chunk, self._job.source)
        with contextlib.ExitStack() as stack:
            self._save_progress()
            files = {name: stack.enter_context(self._open(path)) for name, path in self._paths().items()}
            self._report.start(self._progress.rows, fraction)
            while chunk:
                self._process(chunk, files)
                self._flush(files)
                self._report.update(self._progress, self._reader.fraction_read())
                chunk = _next_chunk(rows)
        self._report.finish(self._progress)
        if is_resumable(self._job.output):
            self._job.progress_path.unlink(missing_ok=True)

    def _paths(self) -> dict[str, str]:
        paths = {"output": self._job.output}
        return paths | ({"rejects": self._job.rejects} if self._job.rejects else {})

    @contextlib.contextmanager
    def _open(self, path: str) -> Iterator[IO[bytes]]:
        if path == "-":
            yield sys.stdout.buffer
            return
        with Path(path).open("ab" if is_resumable(path) else "wb") as file:
            if not is_resumable(path):
                yield file
                return
            _lock(file)
            size = self._progress.sizes.get(path, 0)
            if file.tell() < size:
                raise InputError(f"{path} is shorter than its progress file says. Start over with --overwrite.")
            file.truncate(size)
            yield file

    def _process(self, rows: Sequence[Row], files: dict[str, IO[bytes]]) -> None:
        results: list[Any] = [self._columns.text_of(row) for row in rows]
        valid = [index for index, text in enumerate(results) if not isinstance(text, InputError)]
        answers = self._answers([results[index] for index in valid]) if valid else []
        for index, answer in zip(valid, answers, strict=True):
            results[index] = answer
        for row, result in zip(rows, results, strict=True):
            self._write(row, result, files)

    def _answers(self, texts: Sequence[Any]) -> Sequence[dict[str, Any] | InputError]:
        try:
            return self._answer(texts)
        except ServerError as error:
            next_step = "; continue with --resume." if is_resumable(self._job.output) else "."
            message = f"{error} {self._progress.rows} rows are done{next_step}"
            raise ServerError(message, code=error.code, details=error.details) from error

    def _write(self, row: Row, result: Any, files: dict[str, IO[bytes]]) -> None:
        self._progress.rows += 1
        self._progress.next_row = row.number + 1
        if isinstance(result, InputError):
            self._progress.rejected += 1
            self._write_reject(row, result, files)
            return
        self._progress.answered += 1
        files["output"].write(json_line(self._columns.with_result(row.columns, result)))

    def _write_reject(self, row: Row, error: InputError, files: dict[str, IO[bytes]]) -> None:
        reason = reject_reason(error)
        if "rejects" in files:
            files["rejects"].write(json_line({"row": row.number, "reason": reason, "input": row.raw}))
        else:
            self._log.write(f"row {row.number}: {reason}\n")

    def _flush(self, files: dict[str, IO[bytes]]) -> None:
        """Flush the output files to disk, then save their sizes in the progress file."""
        for name, path in self._paths().items():
            files[name].flush()
            if is_resumable(path):
                os.fsync(files[name].fileno())
                self._progress.sizes[path] = files[name].tell()
        self._save_progress()

    def _save_progress(self) -> None:
        if is_resumable(self._job.output):
            self._progress.save(self._job.progress_path)


def _lock(file: IO[bytes]) -> None:
    """Keep other runs from writing a file until it is closed; on Windows, which has no such lock, they are not kept.

    Raises:
        InputError: another run writes it.
    """
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(f"another run is writing {file.name}. Wait for its end, or pass another --output.") from error
    except OSError:  # a file system without locks
        return


def _next_chunk(rows: Iterator[Row]) -> list[Row]:
    return list(itertools.islice(rows, ROWS_PER_CHUNK))


def _initial_progress(job: BulkJob, *, resume: bool, overwrite: bool) -> Progress:
    """Return the progress of the run to resume, or of a new run."""
    _check_paths(job)
    options = asdict(job) | _source_state(job.source)
    options |= options.pop("model")
    options["kind"] = options.pop("format")  # its key in the progress files of 0.1.0
    if not is_resumable(job.output):
        return Progress(job=options)
    if resume and job.progress_path.exists():
        return Progress.load(job.progress_path, options)
    existing = [path for path in (job.output, job.rejects) if path and is_resumable(path) and Path(path).exists()]
    if existing and not overwrite:
        state = "is already complete. Start" if resume else "already exists. Continue it with --resume, or start"
        raise InputError(f"{existing[0]} {state} over with --overwrite.")
    return Progress(job=options)


def is_resumable(path: str) -> bool:
    """Return whether a path is that of a file, not of standard output, a device or a pipe."""
    return path != "-" and (Path(path).is_file() or not Path(path).exists())


def check_path(path: str, *, writes: bool) -> None:
    """Check that a path of a run over one file can be that of a file.

    Raises:
        InputError: it is a URI or a directory, or its directory does not exist.
    """
    advice = "Pass the input as --input, and a directory or URI as --output" if writes else "Pass it as --input"
    if "://" in path:
        raise InputError(f"{path} is a URI, expected the path of a file. {advice}.")
    if Path(path).is_dir() and path != "-":
        raise InputError(f"{path} is a directory, expected a file. {advice}.")
    if writes and not Path(path).parent.is_dir():
        raise InputError(f"{path} cannot be written: {Path(path).parent} is no directory. Create it.")


def _check_paths(job: BulkJob) -> None:
    """Check that no file is written that is read, and none twice.

    Raises:
        InputError: two paths are one file.
    """
    files = [path for path in (job.source, job.output, job.rejects) if path and is_resumable(path)]
    paths = list(map(os.path.realpath, files))
    if len(set(paths)) < len(paths):
        raise InputError("input, output and rejects must be different files. Pass another --output or --rejects.")


def _source_state(source: str) -> dict[str, int]:
    """Return the size of a file and when it was changed."""
    if source == "-":
        return {}
    try:
        state = Path(source).stat()
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error.strerror}.") from error
    return {"source_size": state.st_size, "source_changed": state.st_mtime_ns}
