"""Decide when a failed call is retried and when a slow call is hedged.

The decisions are generators that do no I/O: they yield the next action and are sent its outcome. The sync and the async
client each carry out the actions in their own way.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

from bertbundle.contract.types import Prediction
from bertbundle.errors import DeadlineExceeded, Overloaded, ServerError, ServerUnavailable

__all__ = [
    "Action",
    "CallPolicy",
    "Deadline",
    "Outcome",
    "Pause",
    "Retries",
    "RetryBudget",
    "Send",
    "Start",
    "WaitForFirst",
    "call_with_retries",
    "is_error",
    "resume",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a call is retried if the server is unavailable, overloaded, cancels it, or exceeds `call_timeout`.

    Other errors are not retried.

    Attributes:
        attempts: maximum number of attempts of one call; 1 for no retries.
        first_pause: maximum seconds before the second attempt; doubled for each further attempt. The actual pause is
            random between 0 and this maximum, so that clients do not all retry at the same time ("full jitter").
        longest_pause: upper limit of that maximum, in seconds.
        budget: number of retries that a client may make in a row; each success earns back a tenth of a retry. Source:
            gRFC A6, "Throttling Retry Attempts".

    >>> Retries(attempts=1)  # no retries
    Retries(attempts=1, first_pause=0.1, longest_pause=2.0, budget=20)
    """

    attempts: int = 4
    first_pause: float = 0.1
    longest_pause: float = 2.0
    budget: int = 20

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.budget < 0:
            raise ValueError(f"attempts must be at least 1 and budget at least 0, got {self.attempts}, {self.budget}")
        if not 0 <= self.first_pause <= self.longest_pause:
            raise ValueError(f"pauses must be 0 <= first <= longest, got {self.first_pause}, {self.longest_pause}")

    def pause(self, attempt: int) -> float:
        """Return the seconds to wait after an attempt; the first attempt is number 0.

        >>> 0 <= Retries(first_pause=0.1).pause(1) <= 0.2
        True
        """
        limit = min(self.longest_pause, self.first_pause * 2.0 ** min(attempt, 60))
        return random.uniform(0, limit)  # noqa: S311 - no cryptography


class RetryBudget:
    """The number of retries that a client may still make; shared by its threads."""

    def __init__(self, size: int) -> None:
        """Start with a full budget."""
        self._size = self._remaining = float(size)
        self._lock = threading.Lock()

    def spend(self) -> bool:
        """Take one retry from the budget, and return whether there was one."""
        with self._lock:
            allowed = self._remaining >= 1
            self._remaining -= allowed
            return allowed

    def earn(self) -> None:
        """Add a tenth of a retry, for a successful call."""
        with self._lock:
            self._remaining = min(self._size, self._remaining + 0.1)


class Deadline:
    """The time by which a method call of the client must return."""

    def __init__(self, seconds: float) -> None:
        """Set the deadline `seconds` from now."""
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def allows(self, seconds: float) -> bool:
        """Return whether more than `seconds` remain."""
        return time.monotonic() + seconds < self._end

    def remaining(self) -> float:
        """Return the remaining seconds.

        Raises:
            DeadlineExceeded: no time remains.
        """
        remaining = self._end - time.monotonic()
        if remaining <= 0:
            raise DeadlineExceeded(
                f"no answer within {self._seconds} s. Raise the timeout, or send fewer texts at once.",
                code="DEADLINE_EXCEEDED",
            )
        return remaining


@dataclass(frozen=True, slots=True)
class Send:
    """Make the call and wait for its response, with a timeout in seconds."""

    timeout: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Start:
    """Start the call in the background, with a timeout in seconds."""

    timeout: float


@dataclass(frozen=True, slots=True)
class WaitForFirst:
    """Wait for the first outcome of the background calls, for at most `seconds`; None for no limit."""

    seconds: float | None


Action: TypeAlias = "Send | Pause | Start | WaitForFirst"
Outcome: TypeAlias = "Prediction | ServerError"
"""How a call ended."""


class HasResult(Protocol):
    """A future of `concurrent.futures` or of asyncio."""

    def result(self) -> object:
        """Return its result."""


def is_error(future: HasResult) -> bool:
    """Return whether the result of a finished future is an error; as a sort key, it prefers predictions."""
    return isinstance(future.result(), ServerError)


def resume(generator: Generator[T, Any, Any], outcome: Any) -> T:
    """Send an outcome to a generator, or throw it if it is an error, and return what the generator yields next."""
    return generator.throw(outcome) if isinstance(outcome, ServerError) else generator.send(outcome)


@dataclass(frozen=True, slots=True)
class CallPolicy:
    """Timeouts, retries and hedging of a client's calls.

    Attributes:
        retries: when a failed call is retried.
        budget: limits both retries and hedges.
        call_timeout: timeout of one attempt, in seconds; None for the time that remains until the deadline.
        hedge_after: seconds after which a second attempt is started while the first is in flight; None for never.
    """

    retries: Retries
    budget: RetryBudget
    call_timeout: float | None = None
    hedge_after: float | None = None

    def retries_error(self, error: ServerError) -> bool:
        """Return whether another attempt may succeed: after a timeout only if the attempt had a timeout of its own."""
        return self.call_timeout is not None or not isinstance(error, DeadlineExceeded)

    def attempt_timeout(self, deadline: Deadline) -> float:
        """Return the timeout, in seconds, of an attempt that starts now."""
        remaining = deadline.remaining()
        return min(remaining, self.call_timeout or remaining)


def call_with_retries(deadline: Deadline, policy: CallPolicy) -> Generator[Action, Any, Prediction]:
    """Make one call, and retry it if it fails with a temporary error.

    Yields:
        The next action; the caller sends its outcome, or throws it if it is an error.

    Raises:
        ServerError: the error is not retried, or no attempts, budget or time remain.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            prediction: Prediction = yield from _attempt(deadline, policy)
        except (ServerUnavailable, Overloaded, DeadlineExceeded) as error:
            pause = policy.retries.pause(attempt - 1)
            is_final = attempt >= policy.retries.attempts or not policy.retries_error(error)
            if is_final or not deadline.allows(pause) or not policy.budget.spend():
                raise
            yield Pause(pause)
        else:
            policy.budget.earn()
            return prediction


def _attempt(deadline: Deadline, policy: CallPolicy) -> Generator[Action, Any, Any]:
    """Make one attempt; if it is slow, start a second one in parallel and return the first response.

    Source: "hedged requests" in Dean and Barroso, "The Tail at Scale", 2013; limited by the retry budget as in gRFC A6.
    """
    if policy.hedge_after is None:
        return (yield Send(policy.attempt_timeout(deadline)))
    yield Start(policy.attempt_timeout(deadline))
    prediction = yield WaitForFirst(policy.hedge_after)
    if prediction is None and deadline.allows(0) and policy.budget.spend():
        yield Start(policy.attempt_timeout(deadline))
        prediction = yield from _first_of_two()
    return prediction or (yield WaitForFirst(None))


def _first_of_two() -> Generator[Action, Any, Any]:
    """Wait for the first of two calls; if it fails with a temporary error, wait for the other one."""
    try:
        return (yield WaitForFirst(None))
    except (ServerUnavailable, Overloaded, DeadlineExceeded):
        return (yield WaitForFirst(None))
