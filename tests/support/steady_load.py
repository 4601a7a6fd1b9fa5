"""Calls at a steady rate from a thread of their own, and what became of each."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import numpy as np

from bertbundle import AsyncClient, BertBundleError

__all__ = ["Call", "SteadyLoad"]


@dataclass(frozen=True, slots=True)
class Call:
    """A finished call.

    Attributes:
        seconds: how long it took, with its retries.
        result: the entities; None if it failed.
        error: why it failed; "" if it did not.
    """

    seconds: float
    result: Any
    error: str = ""


class SteadyLoad:
    """Calls a client at a steady rate within a context, however long the calls take.

    Attributes:
        calls: the calls that have finished.
    """

    def __init__(self, address: str, rate: float, **settings: Any) -> None:
        """Call the model ``tiny`` `rate` times a second; `settings` are those of the client."""
        self.calls: list[Call] = []
        self._address, self._rate, self._settings = address, rate, settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> SteadyLoad:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for the calls in flight."""
        self._stop.set()
        self._thread.join()

    @property
    def errors(self) -> list[str]:
        """The errors of the calls that failed."""
        return [call.error for call in self.calls if call.error]

    def percentile(self, percent: float) -> float:
        """Return the seconds within which `percent` of the calls ended."""
        return float(np.percentile([call.seconds for call in self.calls], percent))

    async def _run(self) -> None:
        async with AsyncClient(self._address, "tiny", **self._settings) as client:
            begin, pending, number = time.monotonic(), set[asyncio.Task[None]](), 0
            while not self._stop.is_set():
                task = asyncio.ensure_future(self._call(client.entities("wang")))
                pending.add(task)
                task.add_done_callback(pending.discard)
                number += 1
                await asyncio.sleep(max(0.0, begin + number / self._rate - time.monotonic()))
            await asyncio.gather(*pending)

    async def _call(self, request: Coroutine[Any, Any, Any]) -> None:
        begin, result, error = time.monotonic(), None, ""
        try:
            result = await request
        except BertBundleError as caught:
            error = f"{type(caught).__name__}: {caught}"
        self.calls.append(Call(time.monotonic() - begin, result, error))
