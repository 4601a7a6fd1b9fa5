"""How a client waits: in its own thread, with a few more where requests travel at the same time."""

from __future__ import annotations

import functools
import inspect
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, TypeAlias

from bertbundle.client.base import Asking, batches
from bertbundle.contract.types import Prediction
from bertbundle.decoding.decoders import Decoder
from bertbundle.errors import ServerError
from bertbundle.session.retries import Action, Begin, Deadline, Send, Wait, failed, persist
from bertbundle.session.session import TEXTS_PER_ROUND, Call, Flow, Options, advance
from bertbundle.transports.cancellation import Cancel
from bertbundle.transports.grpc import Transport

__all__ = ["Background", "Blocking"]

Predict: TypeAlias = "Callable[..., Prediction | ServerError]"
"""Makes a call within some seconds; takes a `Cancel`, too."""


class Blocking(Asking):
    """Runs flows over a transport that blocks."""

    def __init__(self, model: str, transport: Transport, **settings: Any) -> None:
        super().__init__(model, **settings)
        self._transport = transport
        self._cancels = "cancel" in inspect.signature(transport.predict).parameters
        self._pool = ThreadPoolExecutor(self._concurrency, "bertbundle") if self._concurrency > 1 else None

    def close(self) -> None:
        """Close the connection; leaving the client's context does it, too.

        >>> Client("localhost:8500", "ner").close()
        """
        self._lifetime.closed = True
        if self._pool:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._transport.close()

    def _run(self, flow: Flow[Any]) -> Any:
        deadline = self._deadline()
        with self._lifetime.use():
            try:
                calls = next(flow)
                while True:
                    calls = advance(flow, self._round(calls, deadline))
            except StopIteration as stop:
                return stop.value

    def _stream(self, decoder: Decoder, texts: Any, options: Options) -> Iterator[Any]:
        if not isinstance(texts, Iterator):
            raise TypeError(f"texts must be a str, a list or an iterator, got {type(texts).__name__}; use AsyncClient")
        return itertools.chain.from_iterable(
            self._run(self._session.many(decoder, batch, options)) for batch in batches(texts, TEXTS_PER_ROUND)
        )

    def _round(self, calls: Sequence[Call], deadline: Deadline) -> list[Prediction] | ServerError:
        """Make calls, a bounded number at a time; return their answers or the first error."""
        if self._pool is None or len(calls) == 1:
            return _all_or_error(self._persist(call, deadline) for call in calls)
        errors: list[ServerError] = []

        def make(call: Call) -> Prediction:
            if errors:  # one failed for good: what is not sent yet is not sent
                raise errors[0]
            try:
                return self._persist(call, deadline)
            except ServerError as error:
                errors.append(error)
                raise

        futures = [self._pool.submit(make, call) for call in calls]
        try:
            return _all_or_error(future.result() for future in futures)
        finally:
            for future in futures:
                future.cancel()

    def _persist(self, call: Call, deadline: Deadline) -> Prediction:
        steps = persist(deadline, self._rules)
        predict = functools.partial(self._predict, call)
        background = Background(predict)
        try:
            action = next(steps)
            while True:
                action = advance(steps, _act(action, predict, background))
        except StopIteration as stop:
            prediction: Prediction = stop.value
            return prediction
        finally:
            background.end()

    def _predict(self, call: Call, timeout: float, cancel: Cancel | None = None) -> Prediction | ServerError:
        extra: dict[str, Any] = {"cancel": cancel} if cancel and self._cancels else {}
        try:
            return self._transport.predict(
                self._session.model, call.signature, call.inputs, outputs=call.outputs, timeout=timeout, **extra
            )
        except ServerError as error:
            return error


def _act(action: Action, predict: Predict, background: Background) -> Prediction | ServerError | None:
    if isinstance(action, Send):
        return predict(action.timeout)
    if isinstance(action, Wait):
        return background.first(action.seconds)
    if isinstance(action, Begin):
        background.begin(action.timeout)
    else:
        time.sleep(action.seconds)
    return None


class Background:
    """Calls in threads of their own."""

    def __init__(self, predict: Predict) -> None:
        """Begin none yet."""
        self._predict = predict
        self._running: dict[Future[Prediction | ServerError], Cancel] = {}

    def begin(self, timeout: float) -> None:
        """Begin a call."""
        future: Future[Prediction | ServerError] = Future()
        self._running[future] = cancel = Cancel()
        threading.Thread(target=_fulfil, args=(future, self._predict, timeout, cancel), daemon=True).start()

    def first(self, seconds: float | None) -> Prediction | ServerError | None:
        """Wait for what comes first, and return it; None if nothing comes in time."""
        done, _ = wait(self._running, seconds, FIRST_COMPLETED)
        if not done:
            return None
        future = min(done, key=failed)
        del self._running[future]
        return future.result()

    def end(self) -> None:
        """End those that still run."""
        for cancel in self._running.values():
            cancel()


def _fulfil(future: Future[Any], predict: Predict, *arguments: Any) -> None:
    try:
        future.set_result(predict(*arguments))
    except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
        future.set_exception(error)


def _all_or_error(answers: Iterable[Prediction]) -> list[Prediction] | ServerError:
    try:
        return list(answers)
    except ServerError as error:
        return error
