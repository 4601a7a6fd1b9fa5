"""Retries and hedges: what is retried, how often, and at what times."""

from __future__ import annotations

from typing import Any

import pytest

from bertbundle import DeadlineExceeded, InvalidRequest, Overloaded, Retries, ServerError, ServerUnavailable
from bertbundle.session.retries import (
    CallPolicy,
    Deadline,
    Pause,
    RetryBudget,
    Send,
    Start,
    WaitForFirst,
    call_with_retries,
)
from fakes import FailingTransport, Model, connect, make_manifest

FAST = Retries(first_pause=0.001, longest_pause=0.002)


def failing(*errors: type[ServerError] | None) -> FailingTransport:
    """Return a transport to a regression model whose first calls fail."""
    return FailingTransport(Model(make_manifest("regression")), *errors)


# ---- retries


@pytest.mark.parametrize("error", [ServerUnavailable, Overloaded])
def test_temporary_errors_are_retried(error: type[ServerError]) -> None:
    """A call to an unavailable or overloaded server is attempted up to four times."""
    transport = failing(*[error] * 3, None, *[error] * 2)
    assert connect(transport, retries=FAST).regress("wang") == 4
    assert transport.attempts == 4 + 3


@pytest.mark.parametrize("error", [DeadlineExceeded, InvalidRequest, ServerError])
def test_other_errors_are_not_retried(error: type[ServerError]) -> None:
    """Other errors are raised after the first attempt."""
    transport = failing(error)
    with pytest.raises(error):
        connect(transport, retries=FAST).regress("wang")
    assert transport.attempts == 1


@pytest.mark.parametrize("attempts", [1, 3])
def test_last_error_is_raised(attempts: int) -> None:
    """The error of the last attempt is raised; with one attempt there is no retry."""
    transport = failing(*[ServerUnavailable] * 9)
    with pytest.raises(ServerUnavailable):
        connect(transport, retries=Retries(attempts, 0.001, 0.001)).regress("wang")
    assert transport.attempts == attempts


def test_budget_limits_retries() -> None:
    """When the budget is used up, each call is attempted only once."""
    transport = failing(*[Overloaded] * 1000)
    client = connect(transport, retries=Retries(4, 0.001, 0.001, budget=5))
    for _ in range(10):
        with pytest.raises(Overloaded):
            client.regress("wang")
    assert transport.attempts == 10 + 5


def test_budget_is_earned() -> None:
    """Ten successes earn one retry, up to the size of the budget."""
    budget = RetryBudget(1)
    assert budget.spend()
    assert not budget.spend()
    for _ in range(11):
        budget.earn()
    assert [budget.spend(), budget.spend()] == [True, False]


def test_pauses_grow_and_are_random() -> None:
    """Pauses are random up to a limit that doubles with each attempt, until it reaches `longest_pause`."""
    retries = Retries(first_pause=0.1, longest_pause=0.5)
    for attempt, limit in enumerate((0.1, 0.2, 0.4, 0.5, 0.5)):
        pauses = {retries.pause(attempt) for _ in range(50)}
        assert len(pauses) > 10
        assert 0 <= min(pauses) <= max(pauses) <= limit
    assert retries.pause(10_000) <= 0.5


def test_no_pause_beyond_the_deadline() -> None:
    """If the pause would end after the deadline, the error is raised at once."""
    retries = Retries(attempts=9, first_pause=1e9, longest_pause=1e9)
    actions = call_with_retries(Deadline(5.0), CallPolicy(retries, RetryBudget(9)))
    assert isinstance(next(actions), Send)
    with pytest.raises(ServerUnavailable):
        actions.throw(ServerUnavailable("unavailable"))


def test_attempt_that_times_out() -> None:
    """An attempt that ends by `call_timeout` is retried; without it, a timeout is that of the whole call."""
    retries = Retries(first_pause=0.0)
    for call_timeout, retried in ((2.0, True), (None, False)):
        actions = call_with_retries(Deadline(5.0), CallPolicy(retries, RetryBudget(9), call_timeout=call_timeout))
        assert isinstance(next(actions), Send)
        if retried:
            assert isinstance(actions.throw(DeadlineExceeded("no response")), Pause)
        else:
            with pytest.raises(DeadlineExceeded, match="no response"):
                actions.throw(DeadlineExceeded("no response"))


def test_timeout_of_an_attempt() -> None:
    """The timeout of an attempt is `call_timeout`, or the remaining time if that is shorter."""
    actions = call_with_retries(Deadline(5.0), CallPolicy(Retries(attempts=3), RetryBudget(9), call_timeout=2.0))
    assert next(actions) == Send(2.0)
    assert isinstance(actions.throw(Overloaded("full")), Pause)
    actions = call_with_retries(Deadline(1.0), CallPolicy(Retries(), RetryBudget(9), call_timeout=2.0))
    first: Any = next(actions)
    assert 0.9 < first.timeout <= 1.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"attempts": 0}, "attempts must be at least 1", id="attempts"),
        pytest.param({"budget": -1}, "budget at least 0", id="budget"),
        pytest.param({"first_pause": 3.0}, "0 <= first <= longest", id="pauses"),
    ],
)
def test_invalid_settings(settings: dict[str, Any], message: str) -> None:
    """Invalid settings raise ValueError."""
    with pytest.raises(ValueError, match=message):
        Retries(**settings)


# ---- hedges


def start_hedged_call(hedge_after: float | None = 1.0, **settings: Any) -> tuple[Any, RetryBudget]:
    """Return the actions of a call, and its retry budget."""
    budget = RetryBudget(5)
    policy = CallPolicy(**{"retries": Retries(), "budget": budget, "hedge_after": hedge_after, **settings})
    return call_with_retries(Deadline(9.0), policy), budget


def test_call_without_hedging() -> None:
    """Without `hedge_after`, a call is made in the calling thread."""
    assert isinstance(next(start_hedged_call(None)[0]), Send)


def test_hedge_has_its_own_timeout() -> None:
    """The second attempt has a timeout of its own, and takes one retry from the budget."""
    actions, budget = start_hedged_call(call_timeout=2.0)
    assert next(actions) == Start(2.0)
    assert actions.send(None) == WaitForFirst(1.0)
    assert actions.send(None) == Start(2.0)
    assert budget._remaining == 4
    assert actions.send(None) == WaitForFirst(None)


@pytest.mark.parametrize("error", [ServerUnavailable, Overloaded, DeadlineExceeded])
def test_temporary_error_of_one_attempt(error: type[Exception]) -> None:
    """If one of two attempts fails with a temporary error, the other decides the outcome of the call."""
    actions, _ = start_hedged_call(retries=Retries(attempts=1))
    for expected in (Start, WaitForFirst, Start, WaitForFirst):
        assert isinstance(actions.send(None), expected)
    assert actions.throw(error("first error")) == WaitForFirst(None)
    with pytest.raises(error, match="second error"):
        actions.throw(error("second error"))


def test_permanent_error_of_one_attempt() -> None:
    """If one of two attempts fails with a permanent error, the call fails at once."""
    actions, _ = start_hedged_call()
    for _ in range(4):
        actions.send(None)
    with pytest.raises(InvalidRequest):
        actions.throw(InvalidRequest("invalid"))


def test_error_before_the_hedge() -> None:
    """An error before the second attempt is retried after a pause, as without hedging."""
    actions, _ = start_hedged_call()
    next(actions)
    actions.send(None)
    pause = actions.throw(ServerUnavailable("unavailable"))
    assert pause.seconds >= 0
    assert isinstance(actions.send(None), Start)
