"""Run calls off the event loop, those that wait at the same time together."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from bertbundle_serving.config.batching_parameters import BatchingParameters
from bertbundle_serving.cores import available_cores
from bertbundle_serving.engine.batch import Batch, Outputs, Part, Task
from bertbundle_serving.errors import RequestError
from bertbundle_serving.repository.version import Version
from bertbundle_serving.requests.call import Call

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
        rows = sum(task.rows - task.taken for task in self.tasks if task.waits)
        batches = -(-rows // self.parameters.max_execution_batch_size)
        if batches >= limit:
            raise RequestError(
                "UNAVAILABLE",
                "The batch scheduling queue to which this task was submitted is full; "
                f"currently {batches} batches enqueued and max_enqueued_batches is {limit}",
            )

    def take(self) -> Batch | None:
        """Return the next batch, None if nobody waits any more. Calls whose caller has left are dropped."""
        self.tasks = deque(task for task in self.tasks if task.waits)
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


@dataclass(frozen=True, slots=True)
class _Work:
    """A batch that is computed, the queue that it is from, and the slots that it takes."""

    queue: _Queue
    batch: Batch
    slots: int


class Engine:
    """Computes batches, as many at a time as it has slots. Its methods belong to one event loop.

    Args:
        slots: batches at a time; None for as many as `Servable.parallel` says.
        observer: told what is done.
        batching: whether calls are put together.
        answer_bytes: what the outputs of one call may hold; a small request can ask for many gigabytes.

    A call runs at once while a slot is free. Else it waits, and all that wait for the same signature of the same
    version are computed together when a slot gets free; the signature whose first call has waited longest is next.
    """

    def __init__(
        self,
        slots: int | None = None,
        observer: EngineObserver | None = None,
        *,
        batching: bool = True,
        answer_bytes: int = 64 << 20,
    ) -> None:
        self._slots = slots or available_cores()
        self._by_cores = slots is None
        self._answer_bytes = answer_bytes
        self._batching = batching
        self._observer = observer
        # One more thread than slots: it unloads a version, which can take a while.
        self._pool = ThreadPoolExecutor(self._slots + 1, thread_name_prefix="engine")
        # The loop puts calls into the queues, the threads take batches out of them.
        self._lock = threading.Lock()
        self._queues: dict[tuple[Version, str], _Queue] = {}
        self._waiting: list[_Queue] = []
        self._taken = 0

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
        done: asyncio.Future[Outputs] = asyncio.get_running_loop().create_future()
        with self._lock:
            queue = self._queue(version, call.signature)
            if not self._fits(queue):
                queue.check_room()
            queue.tasks.append(Task(call, rows, done, time.perf_counter(), self._answer_bytes))
            if queue not in self._waiting:
                self._waiting.append(queue)
            self._begin(done.get_loop())
        self._tell(queue)
        return done

    def close(self) -> None:
        """Drop the calls that wait; those that run end by themselves."""
        with self._lock:
            self._slots = 0
            self._waiting.clear()
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

    def _compute(self, work: _Work | None, loop: asyncio.AbstractEventLoop) -> None:
        """Compute batches, in a thread, until nobody waits.

        The thread takes the next batch itself: while the loop delivers the last one, this one is computed.
        """
        while work is not None:
            started = time.perf_counter()
            results = work.batch.run(work.queue.version.servable)
            seconds, done = time.perf_counter() - started, work
            with self._lock:
                for part, result in zip(done.batch.parts, results, strict=True):
                    part.task.keep(part, result)
                self._taken -= done.slots
                work = self._next()
                self._begin(loop)
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
                loop.call_soon_threadsafe(self._finish, done, seconds)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin all batches that there are slots for, each in a thread, under the lock."""
        while (work := self._next()) is not None:
            self._pool.submit(self._compute, work, loop)

    def _slots_of(self, queue: _Queue) -> int:
        """Return how many slots a batch takes: all of them, where a second would only take cores from the first."""
        return max(1, self._slots // queue.version.servable.parallel) if self._by_cores else 1

    def _fits(self, queue: _Queue) -> bool:
        return self._taken + self._slots_of(queue) <= self._slots

    def _next(self) -> _Work | None:
        """Take the next batch if there are slots for it, under the lock."""
        while self._waiting:
            # Not in turns: a signature of long rows, whose batches hold few, would always be behind.
            queue = min(self._waiting, key=lambda waiting: waiting.tasks[0].arrived)
            if not self._fits(queue):
                return None
            batch = queue.take()
            if not queue.tasks:
                self._waiting.remove(queue)
            if batch is not None:
                queue.running += 1
                self._taken += self._slots_of(queue)
                return _Work(queue, batch, self._slots_of(queue))
            self._drop_if_idle(queue)
        return None

    def _finish(self, work: _Work, seconds: float) -> None:
        queue = work.queue
        if self._observer is not None:  # first: whoever has an answer finds it counted
            self._observer.computed(queue.key, work.batch, seconds)
        for part in work.batch.parts:
            part.task.answer()
        with self._lock:
            queue.running -= 1
            self._drop_if_idle(queue)
        self._tell(queue)

    def _drop_if_idle(self, queue: _Queue) -> None:
        """Let go of the version that a queue is for, under the lock."""
        key = (queue.version, queue.key.signature)
        if queue.running or queue.tasks or self._queues.get(key) is not queue:
            return
        del self._queues[key]
        if self._slots:
            self._pool.submit(queue.version.release)
        else:  # the engine was closed
            queue.version.release()

    def _tell(self, queue: _Queue) -> None:
        if self._observer is not None:
            self._observer.queued(queue.key, len(queue.tasks))
