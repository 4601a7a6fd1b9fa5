"""Report the progress of an export."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console

__all__ = ["ConsoleReporter", "NoteRecorder", "Reporter", "SilentReporter"]


class Reporter(Protocol):
    """Receives the progress of an export."""

    def stage(self, name: str) -> AbstractContextManager[object]:
        """Return a context manager that is open while the stage runs."""

    def note(self, text: str) -> None:
        """Receive a note for the user."""


class SilentReporter:
    """Ignore everything: the default of `export_bundle`."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """See `Reporter.stage`."""
        del name
        yield

    def note(self, text: str) -> None:
        """See `Reporter.note`."""


class ConsoleReporter:
    """Print each stage with a spinner while it runs and its duration when it is done."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """See `Reporter.stage`."""
        start = time.monotonic()
        with self._console.status(f"{name} ..."):
            yield
        self._console.print(f"  {name:<44} {time.monotonic() - start:6.1f} s", highlight=False)

    def note(self, text: str) -> None:
        """See `Reporter.note`."""
        self._console.print(f"  note: {text}", highlight=False, style="yellow")


class NoteRecorder:
    """Forward everything to another reporter and keep the notes, which the manifest lists.

    Attributes:
        notes: the notes so far.
    """

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self.notes: list[str] = []

    def stage(self, name: str) -> AbstractContextManager[object]:
        """See `Reporter.stage`."""
        return self._reporter.stage(name)

    def note(self, text: str) -> None:
        """See `Reporter.note`."""
        self.notes.append(text)
        self._reporter.note(text)
