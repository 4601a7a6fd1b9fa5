"""An engine with one slot, and a servable whose computations a test controls."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import numpy as np

from bertbundle_serving.config.batching_parameters import BatchingParameters
from bertbundle_serving.engine.engine import Engine, EngineObserver
from bertbundle_serving.errors import RequestError
from bertbundle_serving.repository.version import Version
from bertbundle_serving.requests.call import SignatureCall
from waiting import SECONDS

__all__ = ["EngineRig", "GatedServable", "Turnstile", "first_columns", "make_call", "run"]


class GatedServable:
    """A servable that doubles its input once its gate is open, and records the batches it received.

    A negative value makes the whole batch fail.

    Attributes:
        gate: an event; `run` waits until it is set.
        batches: the input of each batch.
        outputs: the names of the outputs of each batch.
        closed: whether it was closed.
        prepared: an event that is set when the engine lets it prepare for load.
        convert: converts the outputs.
    """

    description = "runtime gated threads 1"
    concurrency = 1
    threads = 1
    signatures: Mapping[str, Any] = {}

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.batches: list[np.ndarray[Any, Any]] = []
        self.outputs: list[tuple[str, ...]] = []
        self.closed = False
        self.prepared = threading.Event()
        self.convert: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]] = lambda array: array

    def run(self, signature: str, inputs: Mapping[str, Any], outputs: Sequence[str]) -> dict[str, Any]:
        """Double the input."""
        del signature
        self.batches.append(inputs["x"])
        self.outputs.append(tuple(outputs))
        assert self.gate.wait(SECONDS)
        if (inputs["x"] < 0).any():
            raise RequestError("INVALID_ARGUMENT", "negative")
        return dict.fromkeys(outputs, self.convert(inputs["x"] * 2))

    def prepare_for_load(self) -> None:
        """Record the call."""
        self.prepared.set()

    def close(self) -> None:
        """Record the call."""
        self.closed = True

    def rows(self) -> list[int]:
        """Return the number of rows of each batch."""
        return [len(batch) for batch in self.batches]


class Turnstile(threading.Event):
    """A gate that lets a given number of batches through."""

    def __init__(self) -> None:
        super().__init__()
        self._turns = threading.Semaphore(0)

    def let_through(self, batches: int) -> None:
        """Let more batches through."""
        self._turns.release(batches)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for a turn."""
        return self._turns.acquire(timeout=timeout)


class EngineRig:
    """An engine with one slot, and a version to compute with."""

    def __init__(self, *observers: EngineObserver, **parameters: Any) -> None:
        self.servable = GatedServable()
        self.closed = threading.Event()
        batching = BatchingParameters(**parameters)
        self.version = Version("m", 1, self.servable, on_close=self.closed.set, batching=batching)
        self.engine = Engine(1, observers)

    def submit(self, *values: float, **fields: Any) -> asyncio.Future[dict[str, Any]]:
        """Submit a call; see `make_call`."""
        return self.engine.submit(self.version, make_call(*values, **fields))


def make_call(*values: float, width: int = 1, outputs: tuple[str, ...] = ("y",), signature: str = "s") -> SignatureCall:
    """Return a call with one row per value, of `width` columns."""
    x = np.repeat(np.array(values, np.float32)[:, None], width, axis=1)
    return SignatureCall(signature, {"x": x}, outputs, len(values), ((width,),))


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run the coroutine of a test, with a timeout."""
    asyncio.run(asyncio.wait_for(work, SECONDS))


def first_columns(*results: dict[str, Any]) -> list[list[float]]:
    """Return the first column of each result."""
    return [result["y"][:, 0].tolist() for result in results]
