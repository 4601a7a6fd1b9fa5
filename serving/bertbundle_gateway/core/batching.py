"""Put rows of several callers into one call to the server.

Only what waits while earlier calls are in flight is put together: a lone caller never waits, and there is no timer.
Rows, not texts, are put together, so that each caller's texts are tokenized, checked and decoded on their own.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace

import grpc
import numpy as np

from bertbundle import AsyncTransport, InvalidRequest, PredictCall, Prediction, ServerError, VersionStatus
from bertbundle.contract.manifest import BUNDLE_INFO
from bertbundle.session.batches import check_outputs
from bertbundle.wire.status_errors import error_from_status

__all__ = ["BatchingTransport"]

_MAX_ROWS = 32
_MAX_BYTES = 4_000_000
"""gRPC's default limit of a message is 4 MiB."""


@dataclass(eq=False, slots=True)
class _Waiting:
    """A call that waits for its prediction until `deadline`, a time of the event loop."""

    call: PredictCall
    deadline: float
    future: asyncio.Future[Prediction]


@dataclass(eq=False, slots=True)
class _Group:
    """The calls of one signature: they may be put together."""

    key: Hashable
    in_flight: int = 0
    waiting: deque[_Waiting] = field(default_factory=deque)


class BatchingTransport:
    """An `AsyncTransport` that puts calls of one signature together while earlier ones are in flight.

    A second attempt of a call that is still in flight (a hedge) is sent at once and on its own: its purpose is not to
    wait for the first one.
    """

    def __init__(self, inner: AsyncTransport, *, in_flight: int = 16) -> None:
        """Send calls with another transport.

        Args:
            inner: makes the calls.
            in_flight: number of calls of one signature in flight; further calls wait and are put together.
        """
        self._inner = inner
        self._in_flight = in_flight
        self._groups: dict[Hashable, _Group] = {}
        self._active: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._shared: dict[Hashable, asyncio.Future[Prediction]] = {}

    async def predict(self, call: PredictCall, *, timeout: float) -> Prediction:
        """See `Transport.predict`."""
        if id(call) in self._active:
            return await self._inner.predict(call, timeout=timeout)
        self._active.add(id(call))
        try:
            return await (self._share if call.signature == BUNDLE_INFO else self._predict)(call, timeout)
        finally:
            self._active.discard(id(call))

    async def status(self, model: str, *, timeout: float) -> list[VersionStatus]:
        """See `Transport.status`."""
        return await self._inner.status(model, timeout=timeout)

    async def close(self) -> None:
        """See `Transport.close`."""
        for task in self._tasks:
            task.cancel()
        for shared in self._shared.values():
            shared.cancel()
        await self._inner.close()

    async def _share(self, call: PredictCall, timeout: float) -> Prediction:
        """Return the `bundle_info` of a model: if it has been requested already, the response to that request.

        When a model is asked for the first time, or its version changes, all requests in flight need it; it is large.
        """
        key = call.model, call.version
        task = self._shared.get(key)
        if task is None:
            task = self._shared[key] = asyncio.ensure_future(self._inner.predict(call, timeout=timeout))
            task.add_done_callback(lambda _: self._shared.pop(key, None))
        try:
            return await asyncio.wait_for(asyncio.shield(task), timeout)
        except asyncio.TimeoutError as error:
            raise _deadline_exceeded() from error
        except ServerError as error:
            raise _copy(error) from error

    async def _predict(self, call: PredictCall, timeout: float) -> Prediction:
        key = _key(call)
        group = self._groups.setdefault(key, _Group(key))
        if group.in_flight < self._in_flight:
            return await self._send_alone(group, call, timeout)
        return await self._wait(group, call, timeout)

    async def _send_alone(self, group: _Group, call: PredictCall, timeout: float) -> Prediction:
        group.in_flight += 1
        try:
            return await self._inner.predict(call, timeout=timeout)
        finally:
            self._end_call(group)

    async def _wait(self, group: _Group, call: PredictCall, timeout: float) -> Prediction:
        loop = asyncio.get_running_loop()
        waiting = _Waiting(call, loop.time() + timeout, loop.create_future())
        group.waiting.append(waiting)
        try:
            return await asyncio.wait_for(waiting.future, timeout)
        except asyncio.TimeoutError as error:
            raise _deadline_exceeded() from error

    def _send_waiting(self, group: _Group) -> None:
        while group.in_flight < self._in_flight and (batch := _take_batch(group.waiting)):
            group.in_flight += 1
            task = asyncio.ensure_future(self._send_batch(group, batch))
            self._tasks.add(task)
            task.add_done_callback(functools.partial(self._end, batch))
            for waiting in batch:  # when no caller is left, the call is cancelled
                waiting.future.add_done_callback(functools.partial(_cancel_unwanted, task, batch))

    def _end(self, batch: Sequence[_Waiting], task: asyncio.Task[None]) -> None:
        """Forget a task; its failure, such as an error of the transport that is no ServerError, fails its callers."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        for waiting in batch:
            if error is not None and not waiting.future.done():
                waiting.future.set_exception(error)
            waiting.future.cancel()  # of a future that is done: no effect

    async def _send_batch(self, group: _Group, batch: Sequence[_Waiting]) -> None:
        try:
            await self._answer(batch)
        finally:
            self._end_call(group)

    def _end_call(self, group: _Group) -> None:
        group.in_flight -= 1
        self._send_waiting(group)
        if not group.in_flight:  # then nothing waits
            self._groups.pop(group.key, None)

    async def _answer(self, batch: Sequence[_Waiting]) -> None:
        """Make one call for all rows, and set the results of the waiting calls."""
        timeout = max(waiting.deadline for waiting in batch) - asyncio.get_running_loop().time()
        call = _concatenate([waiting.call for waiting in batch])
        try:
            prediction = await self._inner.predict(call, timeout=timeout)
            check_outputs(prediction, tuple(prediction.outputs), _rows(call))
        except InvalidRequest as error:
            if len(batch) == 1:
                _set_error(batch[0], error)
            else:  # the rows of one caller must not fail those of others
                await asyncio.gather(*[self._answer([waiting]) for waiting in batch])
        except ServerError as error:
            for waiting in batch:
                _set_error(waiting, error)
        else:
            _set_results(batch, prediction)


def _key(call: PredictCall) -> Hashable:
    """Return what calls must have in common to be put together."""
    inputs = tuple((name, array.dtype.str, array.shape[1:]) for name, array in sorted(call.inputs.items()))
    return call.model, call.version, call.signature, call.outputs, inputs


def _rows(call: PredictCall) -> int:
    return len(next(iter(call.inputs.values())))


def _take_batch(waiting: deque[_Waiting]) -> list[_Waiting]:
    """Remove the calls of the next batch from a queue: as many as fit, at least one."""
    batch: list[_Waiting] = []
    rows = size = 0
    while waiting:
        call = waiting[0].call
        rows += _rows(call)
        size += sum(array.nbytes for array in call.inputs.values())
        if batch and (rows > _MAX_ROWS or size > _MAX_BYTES):
            break
        if not waiting[0].future.done():  # its caller has given up
            batch.append(waiting[0])
        waiting.popleft()
    return batch


def _concatenate(calls: Sequence[PredictCall]) -> PredictCall:
    if len(calls) == 1:
        return calls[0]
    inputs = {name: np.concatenate([call.inputs[name] for call in calls]) for name in calls[0].inputs}
    return replace(calls[0], inputs=inputs)


def _set_results(batch: Sequence[_Waiting], prediction: Prediction) -> None:
    start = 0
    for waiting in batch:
        stop = start + _rows(waiting.call)
        outputs = {name: array[start:stop] for name, array in prediction.outputs.items()}
        if not waiting.future.done():
            waiting.future.set_result(Prediction(outputs, prediction.version))
        start = stop


def _set_error(waiting: _Waiting, error: ServerError) -> None:
    """Fail a call with an error of its own: several tasks must not add their tracebacks to one exception."""
    if not waiting.future.done():
        waiting.future.set_exception(_copy(error))


def _copy(error: ServerError) -> ServerError:
    return type(error)(str(error), code=error.code, details=error.details)


def _deadline_exceeded() -> ServerError:
    return error_from_status(grpc.StatusCode.DEADLINE_EXCEEDED, "no response in time", "the server")


def _cancel_unwanted(task: asyncio.Task[None], batch: Sequence[_Waiting], _: object) -> None:
    if all(waiting.future.cancelled() for waiting in batch):
        task.cancel()
