"""A gRPC server of the small model that responds slowly."""

from __future__ import annotations

import threading
from collections.abc import Callable

import grpc

from fakes import FakeServer, predict_method

__all__ = ["SLOW_SECONDS", "SlowServer"]

SLOW_SECONDS = 10.0
"""How long the slow server takes, far longer than any test may take."""


class SlowServer:
    """A server that responds after `SLOW_SECONDS`, or when it is released.

    Attributes:
        address: its address.
        calls: the number of calls so far.
        cancelled: a semaphore that is released once for each call that the client cancels.
    """

    def __init__(self, start_server: Callable[..., FakeServer]) -> None:
        self._release = threading.Event()
        self.calls = 0
        self.cancelled = threading.Semaphore(0)
        answer = predict_method()

        def predict(data: bytes, context: grpc.ServicerContext) -> bytes:
            self.calls += 1
            context.add_callback(lambda: None if self._release.is_set() else self.cancelled.release())
            self._release.wait(SLOW_SECONDS)
            return answer(data, context)

        self.address = start_server(predict).address

    def release(self) -> None:
        """Respond to all calls at once."""
        self._release.set()
