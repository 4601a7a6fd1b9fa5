"""How a client waits: in its own thread, with a few more where requests travel at the same time."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bertbundle.asking import Asking, batches
from bertbundle.errors import ServerError
from bertbundle.flows import TEXTS_PER_ROUND, Call, Flow, Options, advance
from bertbundle.primitives import Prediction
from bertbundle.retries import Action, Deadline, Pause, persist
from bertbundle.tasks import Decoder
from bertbundle.transport import Transport

__all__ = ["Blocking"]


class Blocking(Asking):
    """Runs flows over a transport that blocks."""

    def __init__(self, model: str, transport: Transport, **settings: Any) -> None:
        super().__init__(model, **settings)
        self._transport = transport
        self._pool = ThreadPoolExecutor(self._concurrency, "bertbundle") if self._concurrency > 1 else None

    def close(self) -> None:
        """Close the connection."""
        if self._pool:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._transport.close()

    def _run(self, flow: Flow[Any]) -> Any:
        deadline = self._deadline()
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
        steps = persist(deadline, self._retries, self._budget, self._call_timeout)
        try:
            action = next(steps)
            while True:
                action = advance(steps, self._act(call, action))
        except StopIteration as stop:
            prediction: Prediction = stop.value
            return prediction

    def _act(self, call: Call, action: Action) -> Prediction | ServerError | None:
        if isinstance(action, Pause):
            time.sleep(action.seconds)
            return None
        try:
            return self._transport.predict(
                self._session.model, call.signature, call.inputs, outputs=call.outputs, timeout=action.timeout
            )
        except ServerError as error:
            return error


def _all_or_error(answers: Iterable[Prediction]) -> list[Prediction] | ServerError:
    try:
        return list(answers)
    except ServerError as error:
        return error
