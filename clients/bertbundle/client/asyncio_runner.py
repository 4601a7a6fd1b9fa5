"""Run flows in an asyncio event loop, with a task for each concurrent request."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

from bertbundle.client.arguments import chunked
from bertbundle.contract.manifest import BUNDLE_INFO
from bertbundle.contract.types import PredictCall, Prediction, VersionStatus
from bertbundle.errors import ServerError
from bertbundle.session.lifecycle import Lifecycle
from bertbundle.session.retries import (
    Action,
    CallPolicy,
    Deadline,
    Outcome,
    Send,
    Start,
    WaitForFirst,
    call_with_retries,
    is_error,
    resume,
)
from bertbundle.session.session import Flow
from bertbundle.transports.base import AsyncTransport

__all__ = ["AsyncioRunner"]

_MakeCall: TypeAlias = "Callable[[float], Awaitable[Outcome]]"
"""Makes a call, given a timeout in seconds."""
_MAX_INLINE_CHARACTERS = 4000
"""To tokenize so many takes 1 to 3 ms; a thread costs 0.1 ms."""
_THREADS = 2
"""Each thread that computes in Python makes the event loop wait for the interpreter, up to 5 ms at a time."""


class AsyncioRunner:
    """Makes the calls of flows with an async transport."""

    def __init__(self, transport: AsyncTransport, policy: CallPolicy, *, timeout: float, concurrency: int) -> None:
        """Create a runner; the parameters are those of `ThreadRunner`."""
        self._transport = transport
        self._policy = policy
        self._timeout = timeout
        self._lifecycle = Lifecycle()
        self._slots = asyncio.Semaphore(concurrency)
        self._pool = ThreadPoolExecutor(_THREADS, "bertbundle")

    async def run(self, flow: Flow[Any], texts: Any = ()) -> Any:
        """Run a flow within the timeout, and return its result.

        What would block the event loop is computed in a thread: to tokenize and decode long `texts`, and to parse a
        tokenizer.
        """
        deadline = Deadline(self._timeout)
        is_large = _count_characters(texts) > _MAX_INLINE_CHARACTERS
        with self._lifecycle.use(asyncio.get_running_loop()):
            step, in_thread = functools.partial(next, flow), is_large
            while True:
                is_result, value = await self._compute(step, in_thread=in_thread)
                if is_result:
                    return value
                step = functools.partial(resume, flow, await self._call_all(value, deadline))
                in_thread = is_large or any(call.signature == BUNDLE_INFO for call in value)

    async def _compute(self, step: Callable[[], Any], *, in_thread: bool) -> tuple[bool, Any]:
        if in_thread:
            return await asyncio.get_running_loop().run_in_executor(self._pool, _advance, step)
        return _advance(step)

    async def stream(
        self, texts: Any, size: int, make_flow: Callable[[Sequence[Any]], Flow[Any]]
    ) -> AsyncIterator[Any]:
        """Run a flow for each `size` texts of an iterator or async iterator, and yield the results."""
        async for chunk in _chunked_async(texts, size):
            for result in await self.run(make_flow(chunk), chunk):
                yield result

    async def status(self, model: str) -> list[VersionStatus]:
        """Return the state of each version of a model."""
        with self._lifecycle.use(asyncio.get_running_loop()):
            return await self._transport.status(model, timeout=self._timeout)

    async def close(self) -> None:
        """Close the connection."""
        self._lifecycle.closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        await self._transport.close()

    async def _call_all(self, calls: Sequence[PredictCall], deadline: Deadline) -> list[Prediction] | ServerError:
        """Make calls concurrently, and return their predictions or the first error."""
        tasks = [asyncio.ensure_future(self._call(call, deadline)) for call in calls]
        try:
            return await asyncio.gather(*tasks)
        except ServerError as error:
            return error
        finally:
            for task in tasks:
                task.cancel()

    async def _call(self, call: PredictCall, deadline: Deadline) -> Prediction:
        """Make a call with retries and hedging."""
        actions = call_with_retries(deadline, self._policy)
        make_call = functools.partial(self._attempt, call)
        background = _BackgroundCalls(make_call)
        async with self._slots:
            try:
                action = next(actions)
                while True:
                    action = resume(actions, await _perform(action, make_call, background))
            except StopIteration as stop:
                prediction: Prediction = stop.value
                return prediction
            finally:
                background.cancel()

    async def _attempt(self, call: PredictCall, timeout: float) -> Outcome:
        try:
            return await self._transport.predict(call, timeout=timeout)
        except ServerError as error:
            return error


def _advance(step: Callable[[], Any]) -> tuple[bool, Any]:
    """Advance a flow; return whether it has ended, and its result or its next calls."""
    try:
        return False, step()
    except StopIteration as stop:  # a coroutine or a thread cannot raise it
        return True, stop.value


def _count_characters(texts: Any) -> int:
    """Return the number of characters of a text, a pair, or a list of them."""
    if isinstance(texts, str):
        return len(texts)
    return sum(map(_count_characters, texts)) if isinstance(texts, list | tuple) else 0


async def _perform(action: Action, make_call: _MakeCall, background: _BackgroundCalls) -> Outcome | None:
    """Carry out an action of `call_with_retries`, and return its outcome."""
    if isinstance(action, Send):
        return await make_call(action.timeout)
    if isinstance(action, WaitForFirst):
        return await background.wait_for_first(action.seconds)
    if isinstance(action, Start):
        background.start(action.timeout)
    else:
        await asyncio.sleep(action.seconds)
    return None


class _BackgroundCalls:
    """Calls that each run in a task of their own."""

    def __init__(self, make_call: _MakeCall) -> None:
        self._make_call = make_call
        self._running: set[asyncio.Future[Outcome]] = set()

    def start(self, timeout: float) -> None:
        """Start a call."""
        self._running.add(asyncio.ensure_future(self._make_call(timeout)))

    async def wait_for_first(self, seconds: float | None) -> Outcome | None:
        """Return the first outcome, or None if there is none within `seconds`."""
        done, _ = await asyncio.wait(self._running, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            return None
        task = min(done, key=is_error)
        self._running.remove(task)
        return task.result()

    def cancel(self) -> None:
        """Cancel the calls that are still running."""
        for task in self._running:
            task.cancel()


async def _chunked_async(texts: Any, size: int) -> AsyncIterator[list[Any]]:
    """Yield the texts of an iterator or async iterator in lists of at most `size`."""
    if isinstance(texts, Iterator):
        for chunk in chunked(texts, size):
            yield chunk
        return
    chunk = []
    async for text in texts:
        chunk.append(text)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
