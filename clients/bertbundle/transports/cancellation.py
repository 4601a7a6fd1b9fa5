"""How a call is ended from outside the thread that waits for it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

__all__ = ["Cancel"]


class Cancel:
    """Ends the call that watches it, or the next one that begins to.

    >>> ended, cancel = [], Cancel()
    >>> with cancel.watching(lambda: ended.append("the call")):
    ...     cancel()
    >>> ended
    ['the call']
    """

    def __init__(self) -> None:
        """End nothing yet."""
        self._lock = threading.Lock()
        self._end: Callable[[], object] | None = None
        self._called = False

    def __call__(self) -> None:
        """End the call."""
        with self._lock:
            self._called = True
            if self._end:
                self._end()

    @contextlib.contextmanager
    def watching(self, end: Callable[[], object]) -> Iterator[None]:
        """Have `end` called if the call is to end while it is waited for; after that it never is."""
        with self._lock:
            self._end = end
            if self._called:
                end()
        try:
            yield
        finally:
            with self._lock:
                self._end = None
