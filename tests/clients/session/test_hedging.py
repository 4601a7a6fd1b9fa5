"""The second attempt beside one that is late: when it is made, what it costs, and what becomes of the loser."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from bertbundle import AsyncClient, Client, DeadlineExceeded, InvalidRequest, Overloaded, Retries, ServerUnavailable
from bertbundle.session.retries import CallPolicy, Deadline, RetryBudget, Send, Start, WaitForFirst, call_with_retries

if TYPE_CHECKING:
    from fakes import FakeServer

SLOW = 10.0
"""Seconds that the slow server takes, far more than any test may."""
AFTER = 0.05


class Slow:
    """A server that answers when it is let go; knows how many calls it got, and how many of them were cancelled."""

    def __init__(self, fakes: Any, start: Callable[..., FakeServer]) -> None:
        self.let_go = threading.Event()
        self.calls = 0
        self.cancelled = threading.Semaphore(0)
        answers = fakes.answers_of(fakes.Model())

        def predict(data: bytes, context: grpc.ServicerContext) -> Any:
            self.calls += 1
            context.add_callback(lambda: None if self.let_go.is_set() else self.cancelled.release())
            self.let_go.wait(SLOW)
            return answers(data, context)

        self.address = start(predict).address


@pytest.fixture(autouse=True)
def turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the address that is named first have the first turn."""
    monkeypatch.setattr("random.sample", lambda lines, _: lines[::-1])


@pytest.fixture
def slow(fakes: Any, start: Callable[..., FakeServer]) -> Iterator[Slow]:
    """A slow server."""
    server = Slow(fakes, start)
    yield server
    server.let_go.set()


@pytest.fixture
def fast(fakes: Any, start: Callable[..., FakeServer]) -> str:
    """The address of a fast server."""
    address: str = start(fakes.answers_of(fakes.Model())).address
    return address


def test_the_first_answer_counts(slow: Slow, fast: str) -> None:
    """Calls that a slow server gets are answered by the fast one, and the slow server hears that nobody waits."""
    begun = time.monotonic()
    with Client(f"{slow.address},{fast}", "tiny", hedge_after=AFTER) as client:
        for _ in range(6):
            assert [entity.text for entity in client.entities("wang")] == ["wang"]
        assert slow.calls >= 2
        assert all(slow.cancelled.acquire(timeout=5) for _ in range(slow.calls))
    assert time.monotonic() - begun < SLOW / 2


def test_the_first_answer_counts_awaited(slow: Slow, fast: str) -> None:
    """The awaiting client does the same."""

    async def main() -> None:
        async with AsyncClient(f"{slow.address},{fast}", "tiny", hedge_after=AFTER) as client:
            for _ in range(6):
                assert [entity.text for entity in await client.entities("wang")] == ["wang"]
            assert slow.calls >= 2
            assert all([await asyncio.to_thread(slow.cancelled.acquire, timeout=5) for _ in range(slow.calls)])

    begun = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - begun < SLOW / 2


def test_off_unless_asked_for(slow: Slow, fast: str) -> None:
    """Without `hedge_after` a call waits for the server that got it."""
    with (
        pytest.raises(DeadlineExceeded),
        Client(f"{slow.address},{fast}", "tiny", timeout=0.3) as client,
    ):
        client.entities("wang")
    assert slow.calls == 1


def test_never_past_the_deadline(slow: Slow) -> None:
    """When both attempts are late the call ends at its deadline."""
    begun = time.monotonic()
    with (
        pytest.raises(DeadlineExceeded),
        Client(f"{slow.address},{slow.address}", "tiny", timeout=0.4, hedge_after=AFTER) as client,
    ):
        client.entities("wang")
    assert 0.4 <= time.monotonic() - begun < SLOW / 2
    assert slow.calls == 2


def test_paid_from_the_budget(slow: Slow, fast: str) -> None:
    """Without anything left in the budget of the retries there is no second attempt."""
    with (
        pytest.raises(DeadlineExceeded),
        Client(f"{slow.address},{fast}", "tiny", timeout=0.3, hedge_after=AFTER, retries=Retries(budget=0)) as client,
    ):
        client.entities("wang")
    assert slow.calls == 1


def test_any_transport(fakes: Any) -> None:
    """A transport that cannot be cancelled is asked twice as well; the loser's answer is dropped."""

    class Hanging(fakes.FakeTransport):  # type: ignore[misc]
        def predict(self, *arguments: Any, **options: Any) -> Any:
            answer = super().predict(*arguments, **options)
            if len(self.calls) == 2:
                let_go.wait(SLOW)
            return answer

    let_go = threading.Event()
    transport = Hanging()
    with Client("nowhere:1", "tiny", transport=transport, hedge_after=AFTER) as client:
        assert [entity.text for entity in client.entities("wang")] == ["wang"]
    let_go.set()
    assert len(transport.calls) == 3  # bundle_info, and two for the text


def test_a_bug_is_not_swallowed(fakes: Any) -> None:
    """What is no ServerError comes out of the thread that it happened in."""

    class Broken(fakes.FakeTransport):  # type: ignore[misc]
        def predict(self, *_: Any, **__: Any) -> Any:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), Client("", "tiny", transport=Broken(), hedge_after=1.0) as client:
        client.entities("wang")


# ---- the policy, without waiting


def steps(hedge_after: float | None = 1.0, **settings: Any) -> tuple[Any, RetryBudget]:
    """Return the steps of a call and the budget it is paid from."""
    budget = RetryBudget(5)
    policy = CallPolicy(**{"retries": Retries(), "budget": budget, "hedge_after": hedge_after, **settings})
    return call_with_retries(Deadline(9.0), policy), budget


def test_without_hedging_nothing_changes() -> None:
    """Without `hedge_after` a call is made in the thread that asks."""
    assert isinstance(next(steps(None)[0]), Send)


def test_each_attempt_has_its_own_time() -> None:
    """The second attempt has the seconds of a request of its own, within the whole."""
    call, budget = steps(call_timeout=2.0)
    assert next(call) == Start(2.0)
    assert call.send(None) == WaitForFirst(1.0)
    assert call.send(None) == Start(2.0)
    assert budget._remaining == 4
    assert call.send(None) == WaitForFirst(None)


@pytest.mark.parametrize("error", [ServerUnavailable, Overloaded, DeadlineExceeded])
def test_one_failure_of_two_is_none(error: type[Exception]) -> None:
    """When one of two attempts fails as the other may not, that is waited for; if it fails, too, so does the call."""
    call, _ = steps(retries=Retries(attempts=1))
    for expected in (Start, WaitForFirst, Start, WaitForFirst):
        assert isinstance(call.send(None), expected)
    assert call.throw(error("away")) == WaitForFirst(None)
    with pytest.raises(error, match="away, too"):
        call.throw(error("away, too"))


def test_a_refusal_ends_both() -> None:
    """What both attempts would be told ends the call at once."""
    call, _ = steps()
    for _ in range(4):
        call.send(None)
    with pytest.raises(InvalidRequest):
        call.throw(InvalidRequest("no"))


def test_an_early_error_is_a_failed_attempt() -> None:
    """An error before the second attempt is made up for by a retry, as without hedging."""
    call, _ = steps()
    next(call)
    call.send(None)
    pause = call.throw(ServerUnavailable("away"))
    assert pause.seconds >= 0
    assert isinstance(call.send(None), Start)


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf")])
def test_settings_are_checked(value: float) -> None:
    """Only a positive number of seconds makes sense."""
    with pytest.raises(ValueError, match="hedge_after must be a positive number of seconds"):
        Client("localhost:1", "tiny", hedge_after=value)
