"""Compute calls in worker threads. Calls that wait at the same time are computed together."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from bertbundle._shared.cores import available_cores
from bertbundle_serving.engine.queue import CallQueue, PendingCall, QueuedBatch, QueueKey
from bertbundle_serving.errors import invalid_argument
from bertbundle_serving.repository.version import Version
from bertbundle_serving.requests.call import SignatureCall
from bertbundle_serving.runtimes.base import Outputs

__all__ = ["Engine", "EngineObserver"]

_BUSY_SECONDS = 0.5
"""How long calls must have been waiting without interruption before servables prepare for load."""


class EngineObserver:
    """Receives the engine's events, for metrics and traces; it overrides the methods whose events it needs."""

    def queue_changed(self, key: QueueKey, waiting_calls: int) -> None:
        """Receive the number of calls that wait in a queue."""

    def batch_computed(self, queued: QueuedBatch, started: float, finished: float) -> None:
        """Receive a batch, and `time.perf_counter` when its computation started and finished."""

    def call_computed(self, key: QueueKey, call: SignatureCall, seconds: float) -> None:
        """Receive a call whose outputs its caller received, and the time since its submission."""


class Engine:
    """Computes batches in threads, as many at the same time as it has slots.

    A call runs at once if a slot is free. Otherwise it waits, and all calls that wait for the same signature of the
    same version are computed together when a slot becomes free. The signature whose first call has waited longest
    comes first.

    All methods must be called in the same event loop.

    Args:
        slots: number of batches computed at the same time. If it is None, each core is a slot, and a batch takes
            enough of them that no more than `Servable.concurrency` batches run at the same time.
        observers: receive the events of queues, batches and calls.
        batching: whether calls are computed together.
        max_output_bytes: maximum size of the outputs of one call: a small request can ask for many gigabytes.
    """

    def __init__(
        self,
        slots: int | None = None,
        observers: Sequence[EngineObserver] = (),
        *,
        batching: bool = True,
        max_output_bytes: int = 64 << 20,
    ) -> None:
        self._slots = slots or available_cores()
        self._slots_are_cores = slots is None
        self._max_output_bytes = max_output_bytes
        self._batching = batching
        self._observers = observers
        # One thread more than slots: unloading a version occupies a thread for a while.
        self._threads = ThreadPoolExecutor(self._slots + 1, thread_name_prefix="engine")
        # Guards the attributes below: the event loop fills the queues, the threads empty them.
        self._lock = threading.Lock()
        self._queues: dict[tuple[Version, str], CallQueue] = {}
        self._waiting: list[CallQueue] = []
        self._used_slots = 0
        self._busy_since: float | None = None

    def submit(self, version: Version, call: SignatureCall) -> asyncio.Future[Outputs]:
        """Return a future of the call's outputs. Cancel the future to cancel the call.

        The future raises RequestError if the servable rejects the inputs or if the outputs are too large.

        Raises:
            RequestError: INVALID_ARGUMENT, the call has too many rows; UNAVAILABLE, too many calls wait.
        """
        if not self._batching:
            call = dataclasses.replace(call, rows=1, row_shapes=None)
        limit = version.batching.max_batch_size
        if call.rows > limit:
            raise invalid_argument(f"Task size {call.rows} is larger than maximum input batch size {limit}")
        loop = asyncio.get_running_loop()
        pending = PendingCall(call, loop.create_future(), self._max_output_bytes)
        with self._lock:
            queue = self._find_queue(version, call.signature)
            if not self._has_slots_for(queue):
                queue.check_capacity()
            queue.calls.append(pending)
            if queue not in self._waiting:
                self._waiting.append(queue)
            self._start_batches(loop)
        for observer in self._observers:
            observer.queue_changed(queue.key, len(queue.calls))
        return pending.future

    def close(self) -> None:
        """Drop the calls that wait. Batches that are being computed finish in the background."""
        with self._lock:
            self._slots = 0
            self._waiting.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _find_queue(self, version: Version, signature: str) -> CallQueue:
        queue = self._queues.get((version, signature))
        if queue is None:
            # The version must stay loaded until its last batch is computed, even if all callers cancel.
            version.acquire()
            key = QueueKey(version.model, version.number, signature, version.servable.description)
            queue = self._queues[version, signature] = CallQueue(key, version, version.batching)
        return queue

    def _slots_for(self, queue: CallQueue) -> int:
        """Return the number of slots that a batch takes: all of them if another batch would only compete for cores."""
        return max(1, self._slots // queue.version.servable.concurrency) if self._slots_are_cores else 1

    def _parts_for(self, queue: CallQueue) -> int:
        """Return the number of batches among which the rows of a queue are divided, so that no core is idle."""
        if not self._slots_are_cores or self._waiting != [queue]:
            return 1
        return max(1, (self._slots - self._used_slots) // queue.version.servable.threads)

    def _note_load(self, queue: CallQueue) -> None:
        """Let the servable of a batch prepare for load if calls have been waiting for `_BUSY_SECONDS`."""
        if not self._waiting:
            self._busy_since = None
        elif self._busy_since is None:
            self._busy_since = time.perf_counter()
        elif time.perf_counter() - self._busy_since > _BUSY_SECONDS:
            self._busy_since = None
            self._threads.submit(queue.version.servable.prepare_for_load)

    def _has_slots_for(self, queue: CallQueue) -> bool:
        return self._used_slots + self._slots_for(queue) <= self._slots

    def _start_batches(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start every batch for which slots are free, each in a thread. The caller must hold the lock."""
        while (queued := self._take_batch()) is not None:
            self._threads.submit(self._compute_batches, queued, loop)

    def _take_batch(self) -> QueuedBatch | None:
        """Return the next batch and take its slots; None if no call waits or not enough slots are free."""
        while self._waiting:
            # Not round-robin: a signature with long rows, whose batches have few rows, would always fall behind.
            queue = min(self._waiting, key=lambda waiting: waiting.calls[0].queued)
            if not self._has_slots_for(queue):
                return None
            queued = queue.take_batch(self._slots_for(queue), self._parts_for(queue))
            if not queue.calls:
                self._waiting.remove(queue)
            if queued is not None:
                queue.running += 1
                self._used_slots += queued.slots
                self._note_load(queue)
                return queued
            self._drop_if_idle(queue)
        return None

    def _compute_batches(self, queued: QueuedBatch | None, loop: asyncio.AbstractEventLoop) -> None:
        """Compute a batch, then the next ones, until no call waits. Runs in a thread.

        The thread takes the next batch itself, so that it computes while the event loop delivers the last results.
        """
        while queued is not None:
            started = time.perf_counter()
            results = queued.batch.run(queued.queue.version.servable)
            finished = time.perf_counter()
            computed = queued
            with self._lock:
                computed.add_results(results)
                self._used_slots -= computed.slots
                queued = self._take_batch()
                self._start_batches(loop)
            with contextlib.suppress(RuntimeError):  # the event loop is closed: no caller is waiting
                loop.call_soon_threadsafe(self._deliver, computed, started, finished)

    def _deliver(self, computed: QueuedBatch, started: float, finished: float) -> None:
        """Give the callers their outputs. Runs in the event loop."""
        queue = computed.queue
        with self._lock:
            queue.running -= 1
            self._drop_if_idle(queue)
        resolved = [pending for pending in computed.calls if pending.resolve()]
        for observer in self._observers:  # before the event loop resumes the callers, which may read the metrics
            observer.batch_computed(computed, started, finished)
            observer.queue_changed(queue.key, len(queue.calls))
            for pending in resolved:
                observer.call_computed(queue.key, pending.call, time.perf_counter() - pending.submitted)

    def _drop_if_idle(self, queue: CallQueue) -> None:
        """Remove a queue without calls and release its version. The caller must hold the lock."""
        key = (queue.version, queue.key.signature)
        if queue.running or queue.calls or self._queues.get(key) is not queue:
            return
        del self._queues[key]
        if self._slots:
            self._threads.submit(queue.version.release)
        else:  # the engine is closed
            queue.version.release()
