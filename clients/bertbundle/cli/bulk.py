"""`bertbundle bulk`: a file of any size, answered row by row, in order, and taken up again after a kill.

After each part of the file, its answers are on disk before the checkpoint says so. A run that was ended in between is
taken up at the last checkpoint: what was written after it is cut off and answered again, so no row is lost or twice.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from bertbundle.cli.row_files import Row, Source
from bertbundle.client.base import batches
from bertbundle.errors import InputError, ServerError

__all__ = ["Bulk", "Job"]

ROWS_PER_PART = 1024
_LOG_SECONDS = 60.0
Answer = Callable[[Sequence[Any]], Sequence["dict[str, Any] | InputError"]]
"""Answers texts; an error in the place of one that is refused."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done.

    Attributes:
        source: path of the rows, or "-" for standard input.
        kind: its format.
        output: path of the answers, JSON lines, or "-" for standard output.
        rejects: path of the rows that have no answer, JSON lines with the reason; None for the log.
        text: column that is answered.
        pair: column of the second text; None for single texts.
        keep: columns that go into the output; None for all.
    """

    source: str
    kind: str
    output: str
    rejects: str | None = None
    text: str = "text"
    pair: str | None = None
    keep: tuple[str, ...] | None = None

    @property
    def checkpoint(self) -> Path:
        """Where a run notes how far it got."""
        return Path(self.output + ".progress")


@dataclass(slots=True)
class _Done:
    """How far a run got: what a checkpoint holds."""

    rows: int = 0
    answered: int = 0
    rejected: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    job: dict[str, Any] = field(default_factory=dict)


class Bulk:
    """One run of a job."""

    def __init__(
        self, job: Job, answer: Answer, *, resume: bool, overwrite: bool, log: IO[str], as_json: bool = False
    ) -> None:
        """Open nothing yet; `log` is told how far it is, at the end as JSON if asked for."""
        self._job, self._answer, self._log, self._json = job, answer, log, as_json
        self._done = self._begin(resume, overwrite)
        self._skipped = self._done.rows
        self._source = Source(job.source, job.kind)
        self._reported = time.monotonic()
        self._begun = (self._reported, 0.0)

    def _begin(self, resume: bool, overwrite: bool) -> _Done:
        job, output = asdict(self._job) | self._source_size(), self._job.output
        if output == "-":
            return _Done(job=job)
        if resume and self._job.checkpoint.exists():
            return self._resume(job)
        there = [path for path in (output, self._job.rejects) if path and Path(path).exists()]
        if there and not overwrite:
            state = "is there and complete" if resume else "exists. Say --resume to go on with a run that was ended"
            raise InputError(f"{there[0]} {state}; --overwrite begins again.")
        return _Done(job=job)

    def _resume(self, job: dict[str, Any]) -> _Done:
        try:
            done = _Done(**json.loads(self._job.checkpoint.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"{self._job.checkpoint} cannot be read: {error}. Begin again with --overwrite."
            ) from error
        if done.job != json.loads(json.dumps(job)):
            raise InputError(f"{self._job.checkpoint} is of another job: {done.job}. Give the same, or --overwrite.")
        return done

    def _source_size(self) -> dict[str, int]:
        if self._job.source == "-":
            return {}
        try:
            return {"source_size": Path(self._job.source).stat().st_size}
        except OSError as error:
            raise InputError(f"{self._job.source} cannot be read: {error.strerror}.") from error

    def run(self) -> None:
        """Answer all rows that are not yet answered.

        Raises:
            InputError: a file that cannot be read.
            ServerError: the server failed for good; what is written stays, and ``--resume`` goes on from there.
        """
        with contextlib.ExitStack() as stack:
            self._note()
            files = {name: stack.enter_context(self._open(path)) for name, path in self._paths().items()}
            rows = iter(self._source)
            for _ in zip(range(self._done.rows), rows, strict=False):
                pass
            self._begun = (time.monotonic(), self._source.share() or 0.0)
            for part in batches(rows, ROWS_PER_PART):
                self._part(part, files)
                self._checkpoint(files)
                self._report()
        self._report(last=True)
        if self._job.output != "-":
            self._job.checkpoint.unlink(missing_ok=True)

    def _paths(self) -> dict[str, str]:
        paths = {"output": self._job.output}
        return paths | ({"rejects": self._job.rejects} if self._job.rejects else {})

    @contextlib.contextmanager
    def _open(self, path: str) -> Iterator[IO[bytes]]:
        if path == "-":
            yield sys.stdout.buffer
            return
        with Path(path).open("ab") as file:
            size = self._done.sizes.get(path, 0)
            if file.tell() < size:
                raise InputError(f"{path} has lost answers that its checkpoint counts. --overwrite begins again.")
            file.truncate(size)
            yield file

    def _part(self, rows: Sequence[Row], files: dict[str, IO[bytes]]) -> None:
        outcomes: list[Any] = [self._text(row) for row in rows]
        asked = [index for index, text in enumerate(outcomes) if not isinstance(text, InputError)]
        answers = self._answers([outcomes[index] for index in asked]) if asked else []
        for index, answer in zip(asked, answers, strict=True):
            outcomes[index] = answer
        for row, outcome in zip(rows, outcomes, strict=True):
            self._write(row, outcome, files)

    def _answers(self, texts: Sequence[Any]) -> Sequence[dict[str, Any] | InputError]:
        try:
            return self._answer(texts)
        except ServerError as error:
            done = f"{self._done.rows} rows are done" + (", --resume goes on." if self._job.output != "-" else ".")
            raise ServerError(f"{error} {done}", code=error.code, details=error.details) from error

    def _text(self, row: Row) -> Any:
        """Return what is to be asked of a row, or why it cannot be."""
        if row.problem:
            return InputError(row.problem)
        names = [self._job.text, *([self._job.pair] if self._job.pair else [])]
        missing = [name for name in names if not isinstance(row.columns.get(name), str)]
        if missing:
            return InputError(f"no text in column {missing[0]!r}, the row has {', '.join(map(str, row.columns))}")
        texts = tuple(row.columns[name] for name in names)
        return texts if self._job.pair else texts[0]

    def _write(self, row: Row, outcome: Any, files: dict[str, IO[bytes]]) -> None:
        self._done.rows += 1
        if isinstance(outcome, InputError):
            self._done.rejected += 1
            reason = re.sub(r"^text \d+ ", "the text ", str(outcome))  # its place in a request says nothing here
            if "rejects" in files:
                files["rejects"].write(_line({"row": row.number, "reason": reason, "input": row.raw}))
            else:
                self._log.write(f"row {row.number}: {reason}\n")
            return
        self._done.answered += 1
        kept = row.columns if self._job.keep is None else {name: row.columns.get(name) for name in self._job.keep}
        files["output"].write(_line({**kept, **outcome}))

    def _checkpoint(self, files: dict[str, IO[bytes]]) -> None:
        """See to it that all answers are on disk, then note that they are."""
        for name, path in self._paths().items():
            files[name].flush()
            if path != "-":
                os.fsync(files[name].fileno())
                self._done.sizes[path] = files[name].tell()
        self._note()

    def _note(self) -> None:
        if self._job.output == "-":
            return
        scratch = self._job.checkpoint.with_suffix(".progress.new")
        scratch.write_text(json.dumps(asdict(self._done)), encoding="utf-8")
        scratch.replace(self._job.checkpoint)

    def _report(self, *, last: bool = False) -> None:
        """Say how far it is: on a terminal after each part, in a log now and then."""
        terminal, now = self._log.isatty(), time.monotonic()
        if not (terminal or last or now - self._reported > _LOG_SECONDS):
            return
        self._reported = now
        text = json.dumps(self._figures()) if self._json and last else self._text_of_figures(last=last)
        self._log.write(f"\r\x1b[K{text}" + ("\n" if last else "") if terminal else f"{text}\n")
        self._log.flush()

    def _figures(self) -> dict[str, Any]:
        done, seconds = self._done, max(time.monotonic() - self._begun[0], 1e-9)
        return {
            "rows": done.rows,
            "answered": done.answered,
            "rejected": done.rejected,
            "seconds": round(seconds, 3),
            "rows_per_second": round((done.rows - self._skipped) / seconds, 1),
        }

    def _text_of_figures(self, *, last: bool) -> str:
        figures = self._figures()
        left = None if last else self._seconds_left()
        text = f"{figures['rows']} rows, {figures['rejected']} rejected, {figures['rows_per_second']:.0f} rows/s"
        if left is None:
            return text
        return f"{text}, {int(left) // 3600}:{int(left) // 60 % 60:02}:{int(left) % 60:02} left"

    def _seconds_left(self) -> float | None:
        """Return the time that the rest takes if it goes on as it did in this run."""
        share, (clock, begun) = self._source.share(), self._begun
        if share is None or share <= begun:
            return None
        return (time.monotonic() - clock) * (1 - min(share, 1.0)) / (share - begun)


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "backslashreplace") + b"\n"
