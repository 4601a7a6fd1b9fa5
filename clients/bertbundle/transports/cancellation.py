"""Cancel a call from another thread than the one that waits for it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

__all__ = ["Cancellation"]


class Cancellation:
    """Cancels the call that is in flight, or the next one if there is none.

    >>> cancelled, cancel = [], Cancellation()
    >>> with cancel.bound_to(lambda: cancelled.append("the call")):
    ...     cancel()
    >>> cancelled
    ['the call']
    """

    def __init__(self) -> None:
        """Create a cancellation without a call."""
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
    def bound_to(self, cancel: Callable[[], object]) -> Iterator[None]:
        """Within the block, call `cancel` when cancellation is requested, or at once if it already was."""
        with self._lock:
            self._cancel = cancel
            if self._requested:
                cancel()
        try:
            yield
        finally:
            with self._lock:
                self._cancel = None
