"""How an asyncio client waits: in its event loop, with a task for each request that travels at the same time."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from bertbundle.client.base import Asking, async_batches
from bertbundle.contract.types import Prediction
from bertbundle.decoding.decoders import Decoder
from bertbundle.errors import ServerError
from bertbundle.session.retries import Action, Begin, Deadline, Send, Wait, failed, persist
from bertbundle.session.session import TEXTS_PER_ROUND, Call, Flow, Options, advance
from bertbundle.transports.grpc import AsyncTransport

__all__ = ["AwaitedBackground", "Awaiting"]

Predict: TypeAlias = "Callable[[float], Awaitable[Prediction | ServerError]]"
"""Makes a call within some seconds."""


class Awaiting(Asking):
    """Runs flows over a transport that is awaited."""

    def __init__(self, model: str, transport: AsyncTransport, **settings: Any) -> None:
        super().__init__(model, **settings)
        self._transport = transport
        self._slots = asyncio.Semaphore(self._concurrency)

    async def close(self) -> None:
        """As `Client.close`; leaving the client's context does it, too."""
        self._lifetime.closed = True
        await self._transport.close()

    async def _run(self, flow: Flow[Any]) -> Any:
        deadline = self._deadline()
        with self._lifetime.use(asyncio.get_running_loop()):
            try:
                calls = next(flow)
                while True:
                    calls = advance(flow, await self._round(calls, deadline))
            except StopIteration as stop:
                return stop.value

    async def _stream(self, decoder: Decoder, texts: Any, options: Options) -> AsyncIterator[Any]:
        async for batch in async_batches(texts, TEXTS_PER_ROUND):
            for result in await self._run(self._session.many(decoder, batch, options)):
                yield result

    async def _round(self, calls: Sequence[Call], deadline: Deadline) -> list[Prediction] | ServerError:
        """Make calls, a bounded number at a time; return their answers or the first error."""
        tasks = [asyncio.ensure_future(self._persist(call, deadline)) for call in calls]
        try:
            return await asyncio.gather(*tasks)
        except ServerError as error:
            return error
        finally:
            for task in tasks:
                task.cancel()

    async def _persist(self, call: Call, deadline: Deadline) -> Prediction:
        steps = persist(deadline, self._rules)
        predict = functools.partial(self._predict, call)
        background = AwaitedBackground(predict)
        async with self._slots:
            try:
                action = next(steps)
                while True:
                    action = advance(steps, await _act(action, predict, background))
            except StopIteration as stop:
                prediction: Prediction = stop.value
                return prediction
            finally:
                background.end()

    async def _predict(self, call: Call, timeout: float) -> Prediction | ServerError:
        try:
            return await self._transport.predict(
                self._session.model, call.signature, call.inputs, outputs=call.outputs, timeout=timeout
            )
        except ServerError as error:
            return error


async def _act(action: Action, predict: Predict, background: AwaitedBackground) -> Prediction | ServerError | None:
    if isinstance(action, Send):
        return await predict(action.timeout)
    if isinstance(action, Wait):
        return await background.first(action.seconds)
    if isinstance(action, Begin):
        background.begin(action.timeout)
    else:
        await asyncio.sleep(action.seconds)
    return None


class AwaitedBackground:
    """Calls in tasks of their own."""

    def __init__(self, predict: Predict) -> None:
        """Begin none yet."""
        self._predict = predict
        self._running: set[asyncio.Future[Prediction | ServerError]] = set()

    def begin(self, timeout: float) -> None:
        """Begin a call."""
        self._running.add(asyncio.ensure_future(self._predict(timeout)))

    async def first(self, seconds: float | None) -> Prediction | ServerError | None:
        """Wait for what comes first, and return it; None if nothing comes in time."""
        done, _ = await asyncio.wait(self._running, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            return None
        task = min(done, key=failed)
        self._running.remove(task)
        return task.result()

    def end(self) -> None:
        """End those that still run."""
        for task in self._running:
            task.cancel()
