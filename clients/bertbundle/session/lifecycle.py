"""Where a client may be used: in one process and, with asyncio, in one event loop, until it is closed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

__all__ = ["Lifecycle"]


class Lifecycle:
    """Refuses a use that cannot work: gRPC itself would hang or fail with an obscure error.

    Attributes:
        closed: whether the client is closed.
    """

    def __init__(self) -> None:
        """Start in this process; the event loop is that of the first use."""
        self.closed = False
        self._process = os.getpid()
        self._loop: object = None

    @contextlib.contextmanager
    def use(self, loop: object = None) -> Iterator[None]:
        """Check that the client can be used, and explain an error that comes from closing it in the meantime.

        Args:
            loop: the running event loop; None without asyncio.

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
