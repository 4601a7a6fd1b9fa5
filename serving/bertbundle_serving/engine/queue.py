"""Calls that wait for the engine, and the batches that are taken from them."""

from __future__ import annotations

import asyncio
import contextvars
import math
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from bertbundle_serving.config.batching_parameters import BatchingParameters
from bertbundle_serving.engine.batch import Batch, RowSlice, concatenate_rows
from bertbundle_serving.errors import RequestError, invalid_argument
from bertbundle_serving.repository.version import Version
from bertbundle_serving.requests.call import SignatureCall
from bertbundle_serving.runtimes.base import Outputs

__all__ = ["CallQueue", "PendingCall", "QueueKey", "QueuedBatch", "max_batch_rows", "padded_batch_rows"]


@dataclass(eq=False, slots=True)
class PendingCall:
    """A call that waits or is being computed, perhaps in several batches.

    The engine's threads use it under the engine's lock. The future belongs to the event loop.

    Attributes:
        call: what to compute.
        future: what the caller waits for; it is done early if the caller cancels it.
        max_output_bytes: maximum size of the outputs, including strings.
        submitted: `time.perf_counter` when the call was submitted.
        queued: `time.perf_counter` when its next rows began to wait.
        taken_rows: number of rows that are in a batch or computed.
        computed_rows: number of computed rows.
        output_bytes: size of the outputs so far.
        results: outputs by the index of their first row.
        outcome: the outputs or the error, once known.
        context: the context variables of the caller, by which the call's trace is found.
    """

    call: SignatureCall
    future: asyncio.Future[Outputs]
    max_output_bytes: int
    submitted: float = field(default_factory=time.perf_counter)
    queued: float = field(default_factory=time.perf_counter)
    taken_rows: int = 0
    computed_rows: int = 0
    output_bytes: int = 0
    results: dict[int, Outputs] = field(default_factory=dict)
    outcome: Outputs | Exception | None = None
    context: contextvars.Context = field(default_factory=contextvars.copy_context)

    @property
    def is_active(self) -> bool:
        """Whether there is still something to compute: no rows failed, and the caller is waiting."""
        return self.outcome is None and not self.future.done()

    def take_rows(self, max_rows: int) -> RowSlice:
        """Return the next rows to compute, at most `max_rows`."""
        start, self.taken_rows = self.taken_rows, min(self.taken_rows + max_rows, self.call.rows)
        return RowSlice(self.call, start, self.taken_rows)

    def add_result(self, row_slice: RowSlice, result: Outputs | Exception) -> None:
        """Record the result of some rows. The last rows, or an error, determine the outcome."""
        if not self.is_active:
            return
        try:
            self._record(row_slice, result)
        except Exception as error:  # noqa: BLE001  # the caller gets it: otherwise nobody would answer the call
            self.outcome = error

    def _record(self, row_slice: RowSlice, result: Outputs | Exception) -> None:
        if isinstance(result, Exception):
            raise result
        self.output_bytes += sum(_size_in_bytes(array) for array in result.values())
        self.results[row_slice.start] = result
        self.computed_rows += row_slice.stop - row_slice.start
        if self.output_bytes > self.max_output_bytes:
            self.results.clear()
            self.outcome = invalid_argument(
                f"the outputs are larger than max ({self.max_output_bytes} bytes). Send fewer rows, or ask for fewer "
                "outputs (output_filter)"
            )
        elif self.computed_rows == self.call.rows:
            self.outcome = result if len(self.results) == 1 else self._join_results()

    def resolve(self) -> bool:
        """Give the outcome to the caller, in its event loop. Return whether the caller now has the outputs."""
        if self.outcome is None or self.future.done():
            return False
        if isinstance(self.outcome, Exception):
            self.future.set_exception(self.outcome)
            return False
        self.future.set_result(self.outcome)
        return True

    def _join_results(self) -> Outputs | Exception:
        try:
            return concatenate_rows([self.results[start] for start in sorted(self.results)])
        except (ValueError, MemoryError) as error:  # ValueError: the sizes of the outputs depend on the inputs
            return error


@dataclass(frozen=True, slots=True)
class QueueKey:
    """What the calls of a queue have in common; the metrics use it as labels."""

    model: str
    version: int
    signature: str
    runtime: str  # `Servable.description`


@dataclass(frozen=True, slots=True)
class QueuedBatch:
    """A batch taken from a queue.

    Attributes:
        queue: the queue it was taken from.
        batch: what to compute.
        calls: the pending call of each slice of the batch.
        slots: number of the engine's slots that it occupies.
        taken: `time.perf_counter` when it was taken.
    """

    queue: CallQueue
    batch: Batch
    calls: tuple[PendingCall, ...]
    slots: int
    taken: float = field(default_factory=time.perf_counter)

    def add_results(self, results: list[Outputs | Exception]) -> None:
        """Record the result of each slice in its call."""
        for pending, row_slice, result in zip(self.calls, self.batch.slices, results, strict=True):
            pending.add_result(row_slice, result)


@dataclass(eq=False, slots=True)
class CallQueue:
    """The calls of one signature of one version. The engine's lock guards it.

    Attributes:
        key: labels of its metrics.
        version: the version that computes them.
        parameters: how calls are batched.
        calls: pending calls with rows that are not in a batch yet.
        running: number of its batches that are being computed.
    """

    key: QueueKey
    version: Version
    parameters: BatchingParameters
    calls: deque[PendingCall] = field(default_factory=deque)
    running: int = 0

    def check_capacity(self) -> None:
        """Check that another call may wait.

        Raises:
            RequestError: UNAVAILABLE, too many batches wait.
        """
        limit = self.parameters.max_enqueued_batches
        rows = sum(pending.call.rows - pending.taken_rows for pending in self.calls if pending.is_active)
        batches = math.ceil(rows / self.parameters.max_execution_batch_size)
        if batches >= limit:
            raise RequestError(
                "UNAVAILABLE",
                "The batch scheduling queue to which this task was submitted is full; "
                f"currently {batches} batches enqueued and max_enqueued_batches is {limit}",
            )

    def take_batch(self, slots: int = 1, parts: int = 1) -> QueuedBatch | None:
        """Take the next batch, or return None if there is no call to compute. Cancelled calls are dropped.

        Args:
            slots: number of the engine's slots that the batch will occupy.
            parts: number of batches among which the waiting rows are divided; this one is the first.
        """
        waiting = [pending for pending in self.calls if pending.is_active]
        if not waiting:
            self.calls.clear()
            return None
        batched, slices, skipped = self._fill_batch(waiting, parts)
        # The remaining rows of a large call go to the end, so that a small call never waits for all of them.
        unfinished = [pending for pending in batched if pending.taken_rows < pending.call.rows]
        for pending in unfinished:
            pending.queued = time.perf_counter()
        self.calls = deque([*skipped, *unfinished])
        rows = sum(row_slice.stop - row_slice.start for row_slice in slices)
        padded_rows = rows if waiting[0].call.row_shapes is None else padded_batch_rows(self.parameters, rows)
        batch = Batch(self.key.signature, tuple(slices), rows, padded_rows)
        return QueuedBatch(self, batch, tuple(batched), slots)

    def _fill_batch(
        self, waiting: list[PendingCall], parts: int
    ) -> tuple[list[PendingCall], list[RowSlice], list[PendingCall]]:
        """Return the calls that fit into the next batch, the rows taken from each, and the other calls."""
        first = waiting[0]
        shapes = first.call.row_shapes
        if shapes is None:  # the call must not be batched with others
            return [first], [first.take_rows(first.call.rows)], waiting[1:]
        batched, slices, skipped = list[PendingCall](), list[RowSlice](), list[PendingCall]()
        free_rows = max_batch_rows(self.parameters, row_size=math.prod(shapes[0]))
        # With allowed batch sizes, each part would be padded to one of them.
        if parts > 1 and self.parameters.split and not self.parameters.allowed_batch_sizes:
            rows = sum(pending.call.rows - pending.taken_rows for pending in waiting)
            free_rows = min(free_rows, math.ceil(rows / parts))
        for pending in waiting:
            remaining = pending.call.rows - pending.taken_rows
            fits = remaining <= free_rows or (self.parameters.split and free_rows > 0)
            # The first call is always taken, so that no batch is empty.
            if pending is first or (fits and pending.call.row_shapes == shapes):
                batched.append(pending)
                slices.append(pending.take_rows(free_rows))
                free_rows -= slices[-1].stop - slices[-1].start
            else:
                skipped.append(pending)
        return batched, slices, skipped


def max_batch_rows(parameters: BatchingParameters, row_size: int) -> int:
    """Return the maximum number of rows in a batch if one input has `row_size` elements per row.

    >>> max_batch_rows(BatchingParameters(), row_size=128)
    8
    """
    if parameters.max_execution_tokens is None or not parameters.split:
        return parameters.max_execution_batch_size
    return max(1, min(parameters.max_execution_batch_size, parameters.max_execution_tokens // max(1, row_size)))


def padded_batch_rows(parameters: BatchingParameters, rows: int) -> int:
    """Return the number of rows that a batch of `rows` rows is padded to.

    >>> padded_batch_rows(BatchingParameters(max_execution_batch_size=8, allowed_batch_sizes=(4, 8)), 3)
    4
    """
    return next((size for size in parameters.allowed_batch_sizes if size >= rows), rows)


def _size_in_bytes(array: npt.NDArray[Any]) -> int:
    """Return the size of an array; for strings the sum of their lengths."""
    # Not `array.flat`, which has at most 32 dimensions.
    return sum(map(len, array.reshape(-1))) if array.dtype == object else array.nbytes
