"""Check that a client is used in one process and one event loop, and not after it was closed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

__all__ = ["Lifecycle"]


class Lifecycle:
    """Checks each use of a client; without the check, gRPC would hang or fail with an obscure error.

    Attributes:
        closed: whether the client is closed.
    """

    def __init__(self) -> None:
        """Bind the client to this process; the first use binds it to its event loop."""
        self.closed = False
        self._process = os.getpid()
        self._loop: object = None

    @contextlib.contextmanager
    def use(self, loop: object = None) -> Iterator[None]:
        """Check that the client can be used; if it is closed within the block, errors are reported as caused by that.

        Args:
            loop: the running event loop; None for the sync client.

        Raises:
            RuntimeError: the client is closed, or belongs to another process or event loop.
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
            raise RuntimeError("the client is closed. Create another one, or use it within its `with` block.")
        if os.getpid() != self._process:
            raise RuntimeError("the client was created before this process was forked: create one in each process.")
        self._loop = self._loop or loop
        if loop is not self._loop:
            raise RuntimeError("the client belongs to another event loop: create one in each `asyncio.run`.")
