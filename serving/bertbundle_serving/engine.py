"""Run calls off the event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy.typing as npt

from bertbundle_serving.calls import Call
from bertbundle_serving.version import Version

__all__ = ["Engine"]


class Engine:
    """Threads that compute. A call runs at once while a thread is free; more calls wait for one, in order."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="engine")

    def start(self, version: Version, call: Call) -> asyncio.Future[dict[str, npt.NDArray[Any]]]:
        """Compute a call's outputs. A caller who leaves while it waits is not computed for.

        The result may be a RequestError: the servable refuses the inputs.
        """
        version.hold()
        future = self._pool.submit(call.run, version.servable)
        outputs = asyncio.wrap_future(future)
        # The version must stay until the thread is done: a computation goes on when its caller has left. After
        # wrap_future, so that a caller does not wait for the version to unload.
        future.add_done_callback(lambda _: version.release())
        return outputs

    def close(self) -> None:
        """Drop the calls that wait; those that run end by themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)
