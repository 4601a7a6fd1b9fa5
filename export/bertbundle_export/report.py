"""Tell the user how far an export is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console

__all__ = ["ConsoleReporter", "Reporter", "SilentReporter"]


class Reporter(Protocol):
    """What an export tells of its progress."""

    def stage(self, name: str) -> AbstractContextManager[object]:
        """Return a context manager that lasts as long as the stage."""

    def note(self, text: str) -> None:
        """Tell something the user should know."""


class SilentReporter:
    """Say nothing: the default of the Python function."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """See `Reporter.stage`."""
        del name
        yield

    def note(self, text: str) -> None:
        """See `Reporter.note`."""


class ConsoleReporter:
    """Show each stage with a spinner while it runs and its seconds when it is done."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """See `Reporter.stage`."""
        begin = time.monotonic()
        with self._console.status(f"{name} ..."):
            yield
        self._console.print(f"  {name:<44} {time.monotonic() - begin:6.1f} s", highlight=False)

    def note(self, text: str) -> None:
        """See `Reporter.note`."""
        self._console.print(f"  note: {text}", highlight=False, style="yellow")
