"""Where and how long a client may be used: in one process, in one event loop if it has one, until it is closed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

__all__ = ["Lifetime"]


class Lifetime:
    """Says what is wrong when a client is used elsewhere or too late: gRPC itself would hang there, or fail in riddles.

    Attributes:
        closed: whether the client is closed.
    """

    def __init__(self) -> None:
        """Begin in this process; the loop is that of the first use."""
        self.closed = False
        self._process = os.getpid()
        self._loop: object = None

    @contextlib.contextmanager
    def use(self, loop: object = None) -> Iterator[None]:
        """Refuse a use that cannot work; one that a `close` in another thread ended says so.

        Args:
            loop: the event loop in which the client is used, None without.

        Raises:
            RuntimeError: the client is closed, or used in another process or event loop than before.
        """
        self._check(loop)
        try:
            yield
        except Exception as error:
            if self.closed:
                raise RuntimeError("the client was closed while it was in use.") from error
            raise

    def _check(self, loop: object) -> None:
        if self.closed:
            raise RuntimeError("the client is closed. Make another one, or ask within its `with` block.")
        if os.getpid() != self._process:
            raise RuntimeError("the client was made before this process was forked: make one in each process.")
        self._loop = self._loop or loop
        if loop is not self._loop:
            raise RuntimeError("the client belongs to another event loop: make one in each `asyncio.run`.")
