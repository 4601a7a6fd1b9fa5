"""Rows of several callers in one call to the server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bertbundle import (
    AsyncClient,
    DeadlineExceeded,
    InvalidRequest,
    PredictCall,
    Prediction,
    Retries,
    ServerError,
    ServerUnavailable,
    VersionStatus,
)
from bertbundle_gateway.core.batching import BatchingTransport
from fakes import FakeAsyncTransport, Model

pytestmark = pytest.mark.anyio
Answer = Callable[[PredictCall], Awaitable[Prediction]]


class Recorder:
    """A transport whose calls wait until `release` is set, then double their input.

    Attributes:
        calls: the rows of each call.
        release: lets the calls end.
        cancelled: number of calls that were cancelled.
        answer: answers a call in place of doubling it.
    """

    def __init__(self, answer: Answer | None = None) -> None:
        self.calls: list[list[int]] = []
        self.release = asyncio.Event()
        self.cancelled = 0
        self.answer = answer
        self.closed = False

    async def predict(self, call: PredictCall, *, timeout: float) -> Prediction:
        """See `AsyncTransport.predict`."""
        del timeout
        self.calls.append(call.inputs["ids"][:, 0].tolist())
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.answer is not None:
            return await self.answer(call)
        return Prediction({"double": call.inputs["ids"] * 2}, 7)

    async def status(self, model: str, *, timeout: float) -> list[VersionStatus]:
        """See `AsyncTransport.status`."""
        del model, timeout
        return [VersionStatus(7, "AVAILABLE", "OK", "")]

    async def close(self) -> None:
        """See `AsyncTransport.close`."""
        self.closed = True


def make_call(*rows: int, length: int = 4, **changes: Any) -> PredictCall:
    """Return a call whose rows begin with the numbers."""
    ids = np.tile(np.array(rows, np.int32)[:, None], (1, length))
    return PredictCall("tiny", f"length_{length}", {"ids": ids}, ("double",), **changes)


async def start(transport: BatchingTransport, *calls: PredictCall) -> list[asyncio.Task[Prediction]]:
    """Start calls one after the other, and return when all of them wait."""
    tasks = []
    for call in calls:
        tasks.append(asyncio.ensure_future(transport.predict(call, timeout=20)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    return tasks


def first(prediction: Prediction) -> list[int]:
    """Return the first value of each row."""
    values: list[int] = prediction.outputs["double"][:, 0].tolist()
    return values


async def test_only_waiting_calls_are_put_together() -> None:
    """Calls beyond those in flight wait, and go in one call; each caller gets its own rows, and the version."""
    inner = Recorder()
    transport = BatchingTransport(inner, in_flight=2)
    tasks = await start(transport, *[make_call(number, number + 100) for number in range(5)])
    assert inner.calls == [[0, 100], [1, 101]]
    inner.release.set()
    results = await asyncio.gather(*tasks)
    assert inner.calls == [[0, 100], [1, 101], [2, 102, 3, 103, 4, 104]]
    assert [first(result) for result in results] == [[2 * number, 2 * number + 200] for number in range(5)]
    assert {result.version for result in results} == {7}


async def test_what_differs_is_not_put_together() -> None:
    """Calls with another length, version, label or model are calls of their own."""
    inner = Recorder()
    inner.release.set()
    transport = BatchingTransport(inner, in_flight=1)
    calls = [make_call(1), make_call(2, length=8), make_call(3, version=4), make_call(4, version="stable")]
    await asyncio.gather(*await start(transport, *calls, *calls))
    assert len(inner.calls) == 8


async def test_size_of_a_call() -> None:
    """A call has at most 32 rows; a larger one of a single caller is sent as it is."""
    inner = Recorder()
    transport = BatchingTransport(inner, in_flight=1)
    tasks = await start(transport, make_call(0), *[make_call(*range(10)) for _ in range(5)], make_call(*range(40)))
    inner.release.set()
    await asyncio.gather(*tasks)
    assert [len(rows) for rows in inner.calls] == [1, 30, 20, 40]


async def test_a_lone_caller_never_waits() -> None:
    """Calls one after the other are passed on unchanged."""
    inner = Recorder()
    inner.release.set()
    transport = BatchingTransport(inner, in_flight=1)
    for number in range(3):
        call = make_call(number)
        assert first(await transport.predict(call, timeout=20)) == [2 * number]
    assert inner.calls == [[0], [1], [2]]


async def test_rejected_calls_are_sent_alone() -> None:
    """If the server rejects a call of several callers, each caller's rows are sent alone: one does not fail others."""

    async def reject_3(call: PredictCall) -> Prediction:
        if 3 in call.inputs["ids"]:
            raise InvalidRequest("no 3", code="INVALID_ARGUMENT", details="no 3")
        return Prediction({"double": call.inputs["ids"] * 2}, 7)

    inner = Recorder(reject_3)
    tasks = await start(BatchingTransport(inner, in_flight=1), *[make_call(number) for number in range(5)])
    inner.release.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[3], InvalidRequest)
    assert [first(result) for result in results if isinstance(result, Prediction)] == [[0], [2], [4], [8]]


async def test_errors_reach_every_caller() -> None:
    """If a call fails, each caller gets an error of its own, of the same kind."""

    async def fail(call: PredictCall) -> Prediction:
        raise ServerUnavailable("away", code="UNAVAILABLE", details=str(len(call.inputs)))

    inner = Recorder(fail)
    tasks = await start(BatchingTransport(inner, in_flight=1), *[make_call(number) for number in range(4)])
    inner.release.set()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(error) for error in errors] == [ServerUnavailable] * 4
    assert len({id(error) for error in errors}) == 4
    assert {getattr(error, "code", "") for error in errors} == {"UNAVAILABLE"}


async def test_unexpected_errors_reach_every_caller() -> None:
    """A failure that is no ServerError reaches the callers, too: nobody waits for ever."""

    async def fail(call: PredictCall) -> Prediction:
        raise ValueError(call.model)

    inner = Recorder(fail)
    tasks = await start(BatchingTransport(inner, in_flight=1), *[make_call(number) for number in range(3)])
    inner.release.set()
    errors = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)
    assert [type(error) for error in errors] == [ValueError] * 3


@pytest.mark.parametrize("rows", [0, 1, 2, 4])
async def test_wrong_number_of_rows(rows: int) -> None:
    """A response with another number of rows is an error for all: nobody gets the rows of somebody else."""

    async def answer(call: PredictCall) -> Prediction:
        return Prediction({"double": np.zeros((rows if len(call.inputs["ids"]) > 1 else 1, 4))}, 7)

    inner = Recorder(answer)
    tasks = await start(BatchingTransport(inner, in_flight=1), *[make_call(number) for number in range(4)])
    inner.release.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [Prediction] + [ServerError] * 3


async def test_cancelled_callers() -> None:
    """A caller that gives up is left out; a call that no caller waits for is cancelled, and makes room."""
    inner = Recorder()
    transport: Any = BatchingTransport(inner, in_flight=1)
    leading, second, third, fourth = await start(transport, *[make_call(number) for number in range(4)])
    second.cancel()
    await asyncio.sleep(0)
    leading.cancel()
    await asyncio.sleep(0.01)
    assert inner.calls == [[0], [2, 3]]
    third.cancel()
    await asyncio.sleep(0.01)
    assert inner.cancelled == 1, "another caller still waits"
    fourth.cancel()
    await asyncio.sleep(0.01)
    assert inner.cancelled == 2
    inner.release.set()
    assert not transport._groups
    assert first(await transport.predict(make_call(9), timeout=20)) == [18]


async def test_timeout() -> None:
    """A caller that waits longer than its timeout gets DEADLINE_EXCEEDED; others wait on."""
    inner = Recorder()
    transport = BatchingTransport(inner, in_flight=1)
    tasks = await start(transport, make_call(0), make_call(1))
    with pytest.raises(DeadlineExceeded):
        await transport.predict(make_call(2), timeout=0.01)
    inner.release.set()
    assert [first(result) for result in await asyncio.gather(*tasks)] == [[0], [2]]


@pytest.mark.parametrize("hangs_at", ["length_4", "bundle_info"])
async def test_a_hedge_does_not_wait(hangs_at: str) -> None:
    """The second attempt of a call in flight is sent at once: a server that hangs does not hold it up."""
    hanging: set[int] = set()

    class OneHangs(FakeAsyncTransport):
        async def predict(self, call: PredictCall, *, timeout: float) -> Prediction:
            if call.signature == hangs_at and not hanging:
                hanging.add(id(call))
                await asyncio.sleep(timeout)
            return await super().predict(call, timeout=timeout)

    transport = BatchingTransport(OneHangs(Model()), in_flight=1)
    client = AsyncClient("", "tiny", transport=transport, hedge_after=0.02, timeout=20, retries=Retries(budget=20))
    answers = await asyncio.wait_for(asyncio.gather(*[client.entities("wang") for _ in range(3)]), 10)
    assert [[entity.text for entity in answer] for answer in answers] == [["wang"]] * 3


def bundle_info(**changes: Any) -> PredictCall:
    """Return a call for the manifest and the tokenizer."""
    return replace(make_call(1, **changes), signature="bundle_info")


async def test_bundle_info_is_requested_once() -> None:
    """Calls for the description of a model share one that is in flight; a caller that gives up does not end it."""
    inner = Recorder()
    transport = BatchingTransport(inner, in_flight=1)
    tasks = await start(transport, *[bundle_info() for _ in range(5)], bundle_info(version=2))
    assert len(inner.calls) == 2
    tasks[0].cancel()
    with pytest.raises(DeadlineExceeded):
        await transport.predict(bundle_info(), timeout=0.01)
    inner.release.set()
    assert [first(result) for result in await asyncio.gather(*tasks[1:])] == [[2]] * 5
    assert (len(inner.calls), inner.cancelled) == (2, 0)
    await transport.predict(bundle_info(), timeout=20)
    assert len(inner.calls) == 3, "a later call is a new one: the version may have changed"


async def test_failed_bundle_info() -> None:
    """If the shared call fails, each caller gets an error of its own, and the next call is a new one."""

    async def fail(call: PredictCall) -> Prediction:
        raise ServerUnavailable("away", code="UNAVAILABLE", details=call.model)

    inner = Recorder(fail)
    transport = BatchingTransport(inner, in_flight=1)
    tasks = await start(transport, *[bundle_info() for _ in range(3)])
    inner.release.set()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(error) for error in errors] == [ServerUnavailable] * 3
    assert len({id(error) for error in errors}) == 3
    inner.answer = None
    assert first(await transport.predict(bundle_info(), timeout=20)) == [2]


async def test_other_methods() -> None:
    """Status and close are passed on; nothing is kept of calls that have ended."""
    inner = Recorder()
    inner.release.set()
    transport = BatchingTransport(inner)
    await asyncio.gather(*[transport.predict(make_call(number), timeout=20) for number in range(9)])
    assert [status.version for status in await transport.status("tiny", timeout=20)] == [7]
    await transport.close()
    assert inner.closed
    assert not transport._groups
    assert not transport._active
