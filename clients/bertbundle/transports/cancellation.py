"""Cancelling a call from another thread than the one that waits for it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

__all__ = ["Cancellation"]


class Cancellation:
    """Cancels the call in progress, or the next one if none is.

    >>> cancelled, cancel = [], Cancellation()
    >>> with cancel.of(lambda: cancelled.append("the call")):
    ...     cancel()
    >>> cancelled
    ['the call']
    """

    def __init__(self) -> None:
        """Cancel nothing yet."""
        self._lock = threading.Lock()
        self._cancel: Callable[[], object] | None = None
        self._requested = False

    def __call__(self) -> None:
        """Cancel the call."""
        with self._lock:
            self._requested = True
            if self._cancel:
                self._cancel()

    @contextlib.contextmanager
    def of(self, cancel: Callable[[], object]) -> Iterator[None]:
        """Within the block, call `cancel` if cancellation is or was requested; never after it."""
        with self._lock:
            self._cancel = cancel
            if self._requested:
                cancel()
        try:
            yield
        finally:
            with self._lock:
                self._cancel = None
