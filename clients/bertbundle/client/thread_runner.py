"""Run flows in the calling thread, and concurrent requests in a thread pool."""

from __future__ import annotations

import functools
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, TypeAlias

from bertbundle.client.arguments import chunked
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
from bertbundle.transports.base import Transport
from bertbundle.transports.cancellation import Cancellation

__all__ = ["ThreadRunner"]

_MakeCall: TypeAlias = "Callable[..., Outcome]"
"""Makes a call, given a timeout in seconds and optionally a `Cancellation`."""


class ThreadRunner:
    """Makes the calls of flows with a sync transport."""

    def __init__(self, transport: Transport, policy: CallPolicy, *, timeout: float, concurrency: int) -> None:
        """Create a runner; no thread is started yet.

        Args:
            transport: makes the calls.
            policy: timeouts, retries and hedging of each call.
            timeout: timeout of a flow in seconds.
            concurrency: maximum number of in-flight calls.
        """
        self._transport = transport
        self._policy = policy
        self._timeout = timeout
        self._lifecycle = Lifecycle()
        self._pool = ThreadPoolExecutor(concurrency, "bertbundle") if concurrency > 1 else None

    def run(self, flow: Flow[Any], texts: Any = ()) -> Any:  # noqa: ARG002 - for `AsyncioRunner`
        """Run a flow within the timeout, and return its result."""
        deadline = Deadline(self._timeout)
        with self._lifecycle.use():
            try:
                calls = next(flow)
                while True:
                    calls = resume(flow, self._call_all(calls, deadline))
            except StopIteration as stop:
                return stop.value

    def stream(self, texts: Any, size: int, make_flow: Callable[[Sequence[Any]], Flow[Any]]) -> Iterator[Any]:
        """Run a flow for each `size` texts of an iterator, and return an iterator of the results."""
        if not isinstance(texts, Iterator):
            raise TypeError(f"texts must be a str, a list or an iterator, got {type(texts).__name__}; use AsyncClient")
        return itertools.chain.from_iterable(self.run(make_flow(chunk)) for chunk in chunked(texts, size))

    def status(self, model: str) -> list[VersionStatus]:
        """Return the state of each version of a model."""
        with self._lifecycle.use():
            return self._transport.status(model, timeout=self._timeout)

    def close(self) -> None:
        """Close the connection."""
        self._lifecycle.closed = True
        if self._pool:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._transport.close()

    def _call_all(self, calls: Sequence[PredictCall], deadline: Deadline) -> list[Prediction] | ServerError:
        """Make calls concurrently, and return their predictions or the first error."""
        if self._pool is None or len(calls) == 1:
            return _collect(self._call(call, deadline) for call in calls)
        errors: list[ServerError] = []

        def make_call(call: PredictCall) -> Prediction:
            if errors:  # another call failed: do not send this one
                raise errors[0]
            try:
                return self._call(call, deadline)
            except ServerError as error:
                errors.append(error)
                raise

        futures = [self._pool.submit(make_call, call) for call in calls]
        try:
            return _collect(future.result() for future in futures)
        finally:
            for future in futures:
                future.cancel()

    def _call(self, call: PredictCall, deadline: Deadline) -> Prediction:
        """Make a call with retries and hedging."""
        actions = call_with_retries(deadline, self._policy)
        make_call = functools.partial(self._attempt, call)
        background = _BackgroundCalls(make_call)
        try:
            action = next(actions)
            while True:
                action = resume(actions, _perform(action, make_call, background))
        except StopIteration as stop:
            prediction: Prediction = stop.value
            return prediction
        finally:
            background.cancel()

    def _attempt(self, call: PredictCall, timeout: float, cancel: Cancellation | None = None) -> Outcome:
        try:
            return self._transport.predict(call, timeout=timeout, cancel=cancel)
        except ServerError as error:
            return error


def _perform(action: Action, make_call: _MakeCall, background: _BackgroundCalls) -> Outcome | None:
    """Carry out an action of `call_with_retries`, and return its outcome."""
    if isinstance(action, Send):
        return make_call(action.timeout)
    if isinstance(action, WaitForFirst):
        return background.wait_for_first(action.seconds)
    if isinstance(action, Start):
        background.start(action.timeout)
    else:
        time.sleep(action.seconds)
    return None


class _BackgroundCalls:
    """Calls that each run in a thread of their own."""

    def __init__(self, make_call: _MakeCall) -> None:
        self._make_call = make_call
        self._running: dict[Future[Outcome], Cancellation] = {}

    def start(self, timeout: float) -> None:
        """Start a call."""
        future: Future[Outcome] = Future()
        self._running[future] = cancel = Cancellation()
        threading.Thread(target=_set_outcome, args=(future, self._make_call, timeout, cancel), daemon=True).start()

    def wait_for_first(self, seconds: float | None) -> Outcome | None:
        """Return the first outcome, or None if there is none within `seconds`."""
        done, _ = wait(self._running, seconds, FIRST_COMPLETED)
        if not done:
            return None
        future = min(done, key=is_error)
        del self._running[future]
        return future.result()

    def cancel(self) -> None:
        """Cancel the calls that are still running."""
        for cancel in self._running.values():
            cancel()


def _set_outcome(future: Future[Any], make_call: _MakeCall, *arguments: Any) -> None:
    try:
        future.set_result(make_call(*arguments))
    except BaseException as error:  # noqa: BLE001 - raised again in the waiting thread
        future.set_exception(error)


def _collect(predictions: Iterable[Prediction]) -> list[Prediction] | ServerError:
    """Return all predictions, or the error that is raised instead of one."""
    try:
        return list(predictions)
    except ServerError as error:
        return error
