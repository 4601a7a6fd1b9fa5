"""The sync runner: concurrency, iterators, timeouts and hedged requests."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from bertbundle import Client, DeadlineExceeded, InvalidRequest, PredictCall, Prediction, Retries
from fakes import FailingTransport, FakeTransport, Model, connect, make_manifest
from slow_server import SLOW_SECONDS, SlowServer

HEDGE_AFTER = 0.05


# ---- concurrency and iterators


def test_concurrency_and_order() -> None:
    """At most `concurrency` requests are in flight, and results are in the order of the texts."""
    running: list[int] = []
    lock = threading.Lock()
    counts = []

    def value(inputs: Any) -> Any:
        with lock:
            running.append(1)
            counts.append(len(running))
        time.sleep(0.005)
        with lock:
            running.pop()
        return inputs["input_ids"][:, 1].astype(float)

    model = Model(make_manifest("regression"), overrides={"value": value})
    texts = ["a" if index % 3 else "b c a b" for index in range(100)]
    with connect(FakeTransport(model), concurrency=3, rows_per_call=5) as client:
        assert client.regress(texts) == [17 if text == "a" else 18 for text in texts]
    assert 1 < max(counts) <= 3


def test_infinite_iterator() -> None:
    """Results of an iterator without an end are returned while a limited number of texts is read."""
    taken = itertools.count()

    def texts() -> Iterator[str]:
        for _ in taken:
            yield "wang"

    with connect(FakeTransport(Model(make_manifest("regression"))), concurrency=4) as client:
        assert list(itertools.islice(client.regress(texts()), 5000)) == [4] * 5000
    assert next(taken) <= 3 * 2048


def test_error_stops_further_requests() -> None:
    """When one of many requests fails, requests that were not sent yet are not sent."""
    transport = FailingTransport(Model(make_manifest("regression")), None, InvalidRequest)
    with connect(transport, concurrency=2, rows_per_call=1) as client, pytest.raises(InvalidRequest):
        client.regress(["wang"] * 500)
    assert transport.attempts < 100


# ---- timeouts


def test_timeout_includes_all_requests() -> None:
    """Each request has the remaining time as its timeout, and no request is sent when no time remains."""

    def slow(arrays: Any) -> Any:
        time.sleep(0.2)
        return np.zeros((len(arrays["input_ids"]), 2), np.float32)

    model = Model(make_manifest("feature-extraction"), overrides={"sentence_embedding": slow})
    transport = FakeTransport(model)
    with pytest.raises(DeadlineExceeded, match=r"no answer within 0.5 s. Raise the timeout") as caught:
        connect(transport, timeout=0.5).embed(["a"] * 32 * 5)
    assert caught.value.code == "DEADLINE_EXCEEDED"
    timeouts = transport.timeouts.copy()
    assert timeouts.pop(0) <= 0.5  # of the request for the manifest
    assert all(later <= earlier - 0.2 for earlier, later in pairwise(timeouts))
    assert 2 <= len(timeouts) < 5


def test_each_method_call_has_its_own_timeout() -> None:
    """The timeout starts again with each method call."""
    transport = FakeTransport(Model(make_manifest("feature-extraction")))
    client = connect(transport, timeout=5.0)
    client.embed("a")
    time.sleep(0.3)
    client.embed("a")
    assert transport.timeouts[-1] > 4.7


# ---- hedged requests


@pytest.mark.usefixtures("first_address_first")
def test_first_response_is_used(slow: SlowServer, fast: str) -> None:
    """Requests to a slow server are hedged to the fast one, and the slow server's calls are cancelled."""
    begin = time.monotonic()
    with Client(f"{slow.address},{fast}", "tiny", hedge_after=HEDGE_AFTER) as client:
        for _ in range(6):
            assert [entity.text for entity in client.entities("wang")] == ["wang"]
        assert slow.calls >= 2
        assert all(slow.cancelled.acquire(timeout=5) for _ in range(slow.calls))
    assert time.monotonic() - begin < SLOW_SECONDS / 2


@pytest.mark.usefixtures("first_address_first")
def test_no_hedging_by_default(slow: SlowServer, fast: str) -> None:
    """Without `hedge_after`, a request waits for the server that received it."""
    with pytest.raises(DeadlineExceeded), Client(f"{slow.address},{fast}", "tiny", timeout=0.3) as client:
        client.entities("wang")
    assert slow.calls == 1


@pytest.mark.usefixtures("first_address_first")
def test_hedges_end_at_the_deadline(slow: SlowServer) -> None:
    """If both attempts are slow, the method call ends at its deadline."""
    begin = time.monotonic()
    with (
        pytest.raises(DeadlineExceeded),
        Client(f"{slow.address},{slow.address}", "tiny", timeout=0.4, hedge_after=HEDGE_AFTER) as client,
    ):
        client.entities("wang")
    assert 0.4 <= time.monotonic() - begin < SLOW_SECONDS / 2
    assert slow.calls == 2


@pytest.mark.usefixtures("first_address_first")
def test_hedges_need_budget(slow: SlowServer, fast: str) -> None:
    """If the retry budget is empty, a request is not hedged."""
    settings: dict[str, Any] = {"timeout": 0.3, "hedge_after": HEDGE_AFTER, "retries": Retries(budget=0)}
    with pytest.raises(DeadlineExceeded), Client(f"{slow.address},{fast}", "tiny", **settings) as client:
        client.entities("wang")
    assert slow.calls == 1


def test_transport_that_cannot_cancel() -> None:
    """Requests of a transport that ignores `cancel` are hedged, too; the slower response is dropped."""
    release = threading.Event()

    class HangingTransport(FakeTransport):
        def predict(self, call: PredictCall, **options: Any) -> Prediction:
            prediction = super().predict(call, **options)
            if len(self.calls) == 2:
                release.wait(SLOW_SECONDS)
            return prediction

    transport = HangingTransport()
    with connect(transport, hedge_after=HEDGE_AFTER) as client:
        assert [entity.text for entity in client.entities("wang")] == ["wang"]
    release.set()
    assert len(transport.calls) == 3  # one for bundle_info and two for the text


def test_other_exceptions_are_raised() -> None:
    """An exception other than ServerError in a background thread is raised to the caller."""

    class BrokenTransport(FakeTransport):
        def predict(self, *_: Any, **__: Any) -> Prediction:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), connect(BrokenTransport(), hedge_after=1.0) as client:
        client.entities("wang")
