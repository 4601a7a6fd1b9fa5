"""The progress of a bulk run: saved to a file, so that the run can be resumed, and reported to a log."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from bertbundle.errors import InputError

__all__ = ["Progress", "ProgressReport"]

_LOG_SECONDS = 60.0


@dataclass(slots=True)
class Progress:
    """The number of rows done, as saved in the progress file.

    Attributes:
        rows: number of rows done, each either answered or rejected.
        answered: number of answered rows.
        rejected: number of rejected rows.
        next_row: index in the input of the first row that is not done; blank rows are counted there only.
        sizes: size in bytes of each output file after these rows, by path.
        job: the options of the job.
    """

    rows: int = 0
    answered: int = 0
    rejected: int = 0
    next_row: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    job: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path, job: dict[str, Any]) -> Progress:
        """Read a progress file.

        Raises:
            InputError: the file cannot be read, or belongs to a job with other options.
        """
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
            progress = cls(**{"next_row": saved.get("rows", 0), **saved})  # 0.1.0 counted blank rows, too
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{path} cannot be read: {error}. Start over with --overwrite.") from error
        wanted = json.loads(json.dumps(job))
        # Files of 0.1.0 know less of their job.
        for name in [name for name, value in progress.job.items() if value != wanted.get(name)]:
            raise InputError(
                f"{path} belongs to another job: its {name.replace('_', ' ')} is {progress.job.get(name)!r}, not "
                f"{wanted.get(name)!r}. Pass the same options, or start over with --overwrite."
            )
        return progress

    def save(self, path: Path) -> None:
        """Write the progress file, replacing an earlier one atomically."""
        temporary = path.with_suffix(".progress.new")
        temporary.write_text(json.dumps(asdict(self)), encoding="utf-8")
        temporary.replace(path)


class ProgressReport:
    """Log the number of rows, the rate and the time left: on a terminal at each update, otherwise once a minute."""

    def __init__(self, log: IO[str], *, as_json: bool = False) -> None:
        """Write to `log`; with `as_json` the final report is JSON."""
        self._log, self._as_json = log, as_json
        self._last_report = self._start = time.monotonic()
        self._start_rows, self._start_fraction = 0, 0.0

    def start(self, rows: int, fraction: float) -> None:
        """Start the clock; `rows`, a `fraction` of the source, were done by earlier runs."""
        self._start = time.monotonic()
        self._start_rows, self._start_fraction = rows, fraction

    def update(self, progress: Progress, fraction: float | None) -> None:
        """Report progress, if it is time to; `fraction` is the part of the source done, None if unknown."""
        terminal, now = self._log.isatty(), time.monotonic()
        if terminal or now - self._last_report > _LOG_SECONDS:
            self._last_report = now
            left = self._seconds_left(fraction)
            suffix = "" if left is None else f", {_hours_minutes_seconds(int(left))} left"
            self._write(f"{self._summary(progress)}{suffix}", end="" if terminal else "\n")

    def finish(self, progress: Progress) -> None:
        """Report the result of the run."""
        self._write(json.dumps(self._figures(progress)) if self._as_json else self._summary(progress), end="\n")

    def _write(self, text: str, end: str) -> None:
        clear_line = "\r\x1b[K" if self._log.isatty() else ""
        self._log.write(f"{clear_line}{text}{end}")
        self._log.flush()

    def _figures(self, progress: Progress) -> dict[str, Any]:
        seconds = max(time.monotonic() - self._start, 1e-9)
        return {
            "rows": progress.rows,
            "answered": progress.answered,
            "rejected": progress.rejected,
            "seconds": round(seconds, 3),
            "rows_per_second": round((progress.rows - self._start_rows) / seconds, 1),
        }

    def _summary(self, progress: Progress) -> str:
        rate = self._figures(progress)["rows_per_second"]
        return f"{progress.rows} rows, {progress.rejected} rejected, {rate:.0f} rows/s"

    def _seconds_left(self, fraction: float | None) -> float | None:
        """Return the time for the rest of the source at the average rate of this run."""
        if fraction is None or fraction <= self._start_fraction:
            return None
        return (time.monotonic() - self._start) * (1 - min(fraction, 1.0)) / (fraction - self._start_fraction)


def _hours_minutes_seconds(seconds: int) -> str:
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
