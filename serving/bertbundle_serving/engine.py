"""Run calls off the event loop, those that wait at the same time together."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from bertbundle_serving.batch import Batch, Outputs, Part, Task
from bertbundle_serving.batching import BatchingParameters
from bertbundle_serving.calls import Call
from bertbundle_serving.errors import RequestError
from bertbundle_serving.version import Version

__all__ = ["Engine", "EngineObserver", "QueueKey"]


@dataclass(frozen=True, slots=True)
class QueueKey:
    """What a queue holds calls for."""

    model: str
    version: int
    signature: str
    runtime: str


class EngineObserver(Protocol):
    """Told what the engine does, for the metrics."""

    def queued(self, key: QueueKey, tasks: int) -> None:
        """Tell how many calls wait now."""

    def computed(self, key: QueueKey, batch: Batch, seconds: float) -> None:
        """Tell that a batch was computed."""


@dataclass(eq=False, slots=True)
class _Queue:
    """The calls for one signature of one version, and how many batches of them run."""

    key: QueueKey
    version: Version
    parameters: BatchingParameters
    tasks: deque[Task] = field(default_factory=deque)
    running: int = 0

    def check_room(self) -> None:
        limit = self.parameters.max_enqueued_batches
        rows = sum(task.rows - task.taken for task in self.tasks if not task.done.done())
        batches = -(-rows // self.parameters.max_execution_batch_size)
        if batches >= limit:
            raise RequestError(
                "UNAVAILABLE",
                "The batch scheduling queue to which this task was submitted is full; "
                f"currently {batches} batches enqueued and max_enqueued_batches is {limit}",
            )

    def take(self) -> Batch | None:
        """Return the next batch, None if nobody waits any more. Calls whose caller has left are dropped."""
        self.tasks = deque(task for task in self.tasks if not task.done.done())
        if not self.tasks:
            return None
        parts, passed, shapes = list[Part](), list[Task](), self.tasks[0].call.row_shapes
        room = self.parameters.room(math.prod(shapes[0]) if shapes else 1)
        for task in self.tasks:
            left = task.rows - task.taken
            fits = left <= room or (self.parameters.split and room > 0)
            # A call that is not batched has no row shapes and is alone; the first always goes.
            if not parts or (fits and shapes is not None and task.call.row_shapes == shapes):
                parts.append(task.take(room if shapes is not None else left))
                room -= parts[-1].rows
            else:
                passed.append(task)
        # What is left of a large call goes to the end: a small one never waits for the whole of it.
        unfinished = [part.task for part in parts if part.stop < part.task.rows]
        for task in unfinished:
            task.arrived = time.perf_counter()
        self.tasks = deque([*passed, *unfinished])
        batch = Batch(self.key.signature, tuple(parts), 0)
        rows = batch.rows
        return Batch(batch.signature, batch.parts, rows if shapes is None else self.parameters.padded(rows))


class Engine:
    """Computes batches, as many at a time as it has slots. All methods belong to one event loop.

    Args:
        slots: batches at a time.
        observer: told what is done.
        batching: whether calls are put together.
        answer_bytes: what the outputs of one call may hold; a small request can ask for many gigabytes.

    A call runs at once while a slot is free. Else it waits, and all that wait for the same signature of the same
    version are computed together when a slot gets free; the signature whose first call has waited longest is next.
    """

    def __init__(
        self,
        slots: int,
        observer: EngineObserver | None = None,
        *,
        batching: bool = True,
        answer_bytes: int = 64 << 20,
    ) -> None:
        self._slots = slots
        self._answer_bytes = answer_bytes
        self._batching = batching
        self._observer = observer
        # One more thread than slots: it unloads a version, which can take a while.
        self._pool = ThreadPoolExecutor(slots + 1, thread_name_prefix="engine")
        self._queues: dict[tuple[Version, str], _Queue] = {}
        self._waiting: list[_Queue] = []
        self._busy = 0

    def start(self, version: Version, call: Call) -> asyncio.Future[Outputs]:
        """Compute a call's outputs. A caller who leaves (who cancels the future) while it waits is not computed for.

        The result may be a RequestError: the servable refuses the inputs, or the outputs are too large.

        Raises:
            RequestError: INVALID_ARGUMENT, too many rows; UNAVAILABLE, too much waits already.
        """
        if not self._batching:
            call = dataclasses.replace(call, row_shapes=None)
        limit = version.batching.max_batch_size
        rows = 1 if call.row_shapes is None else call.rows
        if rows > limit:
            text = f"Task size {rows} is larger than maximum input batch size {limit}"
            raise RequestError("INVALID_ARGUMENT", text)
        queue = self._queue(version, call.signature)
        done: asyncio.Future[Outputs] = asyncio.get_running_loop().create_future()
        if self._busy >= self._slots:
            queue.check_room()
        queue.tasks.append(Task(call, rows, done, time.perf_counter(), self._answer_bytes))
        if queue not in self._waiting:
            self._waiting.append(queue)
        self._dispatch()
        self._tell(queue)
        return done

    def close(self) -> None:
        """Drop the calls that wait; those that run end by themselves."""
        self._slots = 0
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _queue(self, version: Version, signature: str) -> _Queue:
        queue = self._queues.get((version, signature))
        if queue is None:
            # The version must stay until the last batch is computed, also when every caller has left.
            version.hold()
            # "runtime onnx precision int8 threads 2 ..." is "onnx int8" in the metrics.
            runtime = version.servable.description.removeprefix("runtime ").partition(" threads ")[0]
            runtime = runtime.replace(" precision ", " ")
            key = QueueKey(version.model, version.number, signature, runtime)
            queue = self._queues[version, signature] = _Queue(key, version, version.batching)
        return queue

    def _dispatch(self) -> None:
        while self._busy < self._slots and self._waiting:
            # Not in turns: a signature of long rows, whose batches hold few, would always be behind.
            queue = min(self._waiting, key=lambda waiting: waiting.tasks[0].arrived)
            self._waiting.remove(queue)
            batch = queue.take()
            if batch is not None:
                self._launch(queue, batch)
            if queue.tasks:
                self._waiting.append(queue)
            self._drop_if_idle(queue)

    def _launch(self, queue: _Queue, batch: Batch) -> None:
        self._busy += 1
        queue.running += 1
        started = time.perf_counter()
        loop = asyncio.get_running_loop()
        future = self._pool.submit(batch.run, queue.version.servable)
        running = asyncio.wrap_future(future, loop=loop)
        running.add_done_callback(lambda done: self._finish(queue, batch, done, started))

    def _finish(
        self, queue: _Queue, batch: Batch, done: asyncio.Future[list[Outputs | BaseException]], started: float
    ) -> None:
        self._busy -= 1
        queue.running -= 1
        if done.cancelled():  # the engine was closed
            return
        if self._observer is not None:  # first: whoever has an answer finds it counted
            self._observer.computed(queue.key, batch, time.perf_counter() - started)
        for part, result in zip(batch.parts, done.result(), strict=True):
            if isinstance(result, BaseException):
                part.task.fail(result)
            else:
                part.task.deliver(part, result)
        self._dispatch()
        self._drop_if_idle(queue)
        self._tell(queue)

    def _drop_if_idle(self, queue: _Queue) -> None:
        key = (queue.version, queue.key.signature)
        if queue.running or queue.tasks or self._queues.get(key) is not queue:
            return
        del self._queues[key]
        self._pool.submit(queue.version.release)

    def _tell(self, queue: _Queue) -> None:
        if self._observer is not None:
            self._observer.queued(queue.key, len(queue.tasks))
