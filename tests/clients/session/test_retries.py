"""What is asked again, how often, and when not."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from bertbundle import Client, DeadlineExceeded, InvalidRequest, Overloaded, Retries, ServerError, ServerUnavailable
from bertbundle.session.retries import CallPolicy, Deadline, Pause, RetryBudget, Send, call_with_retries

FAST = Retries(first_pause=0.001, longest_pause=0.002)


class Failing:
    """A transport that fails as told before it passes calls on; None is a call that gets through."""

    def __init__(self, inner: Any, *errors: type[ServerError] | None) -> None:
        self.inner = inner
        self.errors = iter(errors)
        self.attempts = 0
        self.lock = threading.Lock()

    def predict(self, *arguments: Any, **options: Any) -> Any:
        """Fail, or not."""
        with self.lock:
            self.attempts += 1
            error = next(self.errors, None)
        if error:
            raise error("told to", code="X")
        return self.inner.predict(*arguments, **options)

    def close(self) -> None:
        """Close the inner transport."""
        self.inner.close()


def connect(fakes: Any, *errors: type[ServerError] | None, **options: Any) -> tuple[Client, Failing]:
    """Return a client over a failing transport, and that."""
    transport: Any = Failing(fakes.FakeTransport(fakes.Model(fakes.make_manifest("regression"))), *errors)
    return Client("nowhere:1", "tiny", transport=transport, **{"retries": FAST, **options}), transport


@pytest.mark.parametrize("error", [ServerUnavailable, Overloaded])
def test_asked_again(fakes: Any, error: type[ServerError]) -> None:
    """A server that is away or has too much to do is asked again, up to four times in all."""
    client, transport = connect(fakes, *[error] * 3, None, *[error] * 2)
    assert client.regress("wang") == 4
    assert transport.attempts == 4 + 3


@pytest.mark.parametrize("error", [DeadlineExceeded, InvalidRequest, ServerError])
def test_not_asked_again(fakes: Any, error: type[ServerError]) -> None:
    """Nothing else is repeated: it may have been done, or would fail again."""
    client, transport = connect(fakes, error)
    with pytest.raises(error):
        client.regress("wang")
    assert transport.attempts == 1


def test_attempts_end(fakes: Any) -> None:
    """After the last attempt the error is the caller's; one attempt is no retry."""
    for attempts in (1, 3):
        client, transport = connect(fakes, *[ServerUnavailable] * 9, retries=Retries(attempts, 0.001, 0.001))
        with pytest.raises(ServerUnavailable):
            client.regress("wang")
        assert transport.attempts == attempts


def test_budget(fakes: Any) -> None:
    """A client that fails all the time soon asks once each time: it does not add to a server's trouble."""
    client, transport = connect(fakes, *[Overloaded] * 1000, retries=Retries(4, 0.001, 0.001, budget=5))
    for _ in range(10):
        with pytest.raises(Overloaded):
            client.regress("wang")
    assert transport.attempts == 10 + 5


def test_budget_is_earned() -> None:
    """Ten successes earn one retry, and never more than the budget's size."""
    budget = RetryBudget(1)
    assert budget.spend()
    assert not budget.spend()
    for _ in range(11):
        budget.earn()
    assert [budget.spend(), budget.spend()] == [True, False]


def test_pauses_grow_and_are_random() -> None:
    """Pauses are random up to a limit that doubles and then stays."""
    policy = Retries(first_pause=0.1, longest_pause=0.5)
    for attempt, limit in enumerate((0.1, 0.2, 0.4, 0.5, 0.5)):
        pauses = {policy.pause(attempt) for _ in range(50)}
        assert len(pauses) > 10
        assert 0 <= min(pauses) <= max(pauses) <= limit
    assert policy.pause(10_000) <= 0.5


def test_no_pause_beyond_the_deadline() -> None:
    """When a pause would not leave time for another attempt, the error comes at once."""
    steps = call_with_retries(
        Deadline(5.0), CallPolicy(Retries(attempts=9, first_pause=1e9, longest_pause=1e9), RetryBudget(9))
    )
    assert isinstance(next(steps), Send)
    with pytest.raises(ServerUnavailable):
        steps.throw(ServerUnavailable("away"))


def test_each_attempt_gets_what_is_left() -> None:
    """A request has the shorter of its own timeout and what is left of the whole."""
    steps = call_with_retries(Deadline(5.0), CallPolicy(Retries(attempts=3), RetryBudget(9), call_timeout=2.0))
    first: Any = next(steps)
    assert first.timeout == 2.0
    assert isinstance(steps.throw(Overloaded("full")), Pause)
    steps = call_with_retries(Deadline(1.0), CallPolicy(Retries(), RetryBudget(9), call_timeout=2.0))
    first = next(steps)
    assert 0.9 < first.timeout <= 1.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"attempts": 0}, "attempts must be at least 1", id="attempts"),
        pytest.param({"budget": -1}, "budget at least 0", id="budget"),
        pytest.param({"first_pause": 3.0}, "0 <= first <= longest", id="pauses"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    """Settings that make no sense are refused."""
    with pytest.raises(ValueError, match=message):
        Retries(**settings)


# ---- many texts


def test_concurrency_and_order(fakes: Any) -> None:
    """Several requests travel at a time, never more than allowed, and answers come in the order of the texts."""
    running: list[int] = []
    lock = threading.Lock()
    seen = []

    def value(inputs: Any) -> Any:
        with lock:
            running.append(1)
            seen.append(len(running))
        time.sleep(0.005)
        with lock:
            running.pop()
        return inputs["input_ids"][:, 1].astype(float)

    model = fakes.Model(fakes.make_manifest("regression"), change={"value": value})
    client = Client("nowhere:1", "tiny", transport=fakes.FakeTransport(model), concurrency=3, rows_per_call=5)
    texts = ["a" if index % 3 else "b c a b" for index in range(100)]
    with client:
        assert client.regress(texts) == [17 if text == "a" else 18 for text in texts]
    assert 1 < max(seen) <= 3


def test_a_generator_is_answered_as_it_goes(fakes: Any) -> None:
    """Of a generator without an end a bounded number of texts is taken."""
    taken = itertools.count()

    def texts() -> Iterator[str]:
        for _ in taken:
            yield "wang"

    client, _ = connect(fakes)
    with client:
        assert list(itertools.islice(client.regress(texts()), 5000)) == [4] * 5000
    assert next(taken) <= 3 * 2048


def test_an_error_ends_the_rest(fakes: Any) -> None:
    """When one request of many fails for good, those not yet sent are not sent."""
    client, transport = connect(fakes, None, InvalidRequest, concurrency=2, rows_per_call=1)
    with client, pytest.raises(InvalidRequest):
        client.regress(["wang"] * 500)
    assert transport.attempts < 100


@pytest.mark.parametrize("settings", [{"concurrency": 0}, {"rows_per_call": 0}])
def test_limits_are_checked(fakes: Any, settings: dict[str, int]) -> None:
    """Limits of less than one are refused."""
    with pytest.raises(ValueError, match="must be at least 1"):
        connect(fakes, **settings)


def test_a_stale_version_that_takes_less(fakes: Any) -> None:
    """When every text is too long for the version that is held, the client looks whether another one serves."""
    long = "wang lives in a b c"
    old = fakes.Model(fakes.make_manifest(max_length=4, signatures={"serving_default": 4}))
    new = fakes.Model(version=2)
    client = Client("nowhere:1", "tiny", transport=fakes.FakeTransport(old, old, new))
    assert client.entities("wang")
    assert [entity.text for entity in client.entities(long, truncation="error")] == ["wang"]
    assert client.manifest().max_length == 12
