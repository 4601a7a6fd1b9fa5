"""When a failed call is retried and a slow one hedged.

The decisions are generators that do no I/O: they yield the next action, and are sent its outcome. The sync and the
async client carry out the actions, each in its own way.
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
    """How often a call is retried when the server is unavailable or overloaded. No other error is retried.

    Attributes:
        attempts: maximum number of attempts of one call; 1 for no retries.
        first_pause: maximum seconds before the second attempt; doubled for each further attempt. The actual pause is
            random between 0 and the maximum, so that clients do not all retry at the same time ("full jitter").
        longest_pause: upper bound of that maximum, in seconds.
        budget: retries that a client may make in a row; each success earns a tenth of one back. Source of the scheme:
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
        """Return the seconds to wait after an attempt, the first attempt being number 0.

        >>> 0 <= Retries(first_pause=0.1).pause(1) <= 0.2
        True
        """
        limit = min(self.longest_pause, self.first_pause * 2.0 ** min(attempt, 60))
        return random.uniform(0, limit)  # noqa: S311 - spreads load, guards nothing


class RetryBudget:
    """How many retries a client may still make; shared by its threads."""

    def __init__(self, size: int) -> None:
        """Start with a full budget."""
        self._size = self._remaining = float(size)
        self._lock = threading.Lock()

    def spend(self) -> bool:
        """Use up one retry, and return whether one remained."""
        with self._lock:
            allowed = self._remaining >= 1
            self._remaining -= allowed
            return allowed

    def earn(self) -> None:
        """Earn a tenth of a retry for a successful call."""
        with self._lock:
            self._remaining = min(self._size, self._remaining + 0.1)


class Deadline:
    """The point in time by which a method call of the client must be answered."""

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
            DeadlineExceeded: none remain.
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
    """Make the call and wait up to `timeout` seconds for its answer."""

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
    """Wait for the first answer of the calls in the background; up to `seconds`, or without limit if None."""

    seconds: float | None


Action: TypeAlias = "Send | Pause | Start | WaitForFirst"


class Done(Protocol):
    """A finished future, of threads or of asyncio."""

    def result(self) -> object:
        """Return its result."""


def is_error(future: Done) -> bool:
    """Return whether a finished call failed; of several finished calls an answer is preferred to an error."""
    return isinstance(future.result(), ServerError)


def resume(generator: Generator[T, Any, Any], outcome: Any) -> T:
    """Send a generator the outcome of what it yielded, or throw the outcome if it is an error."""
    return generator.throw(outcome) if isinstance(outcome, ServerError) else generator.send(outcome)


@dataclass(frozen=True, slots=True)
class CallPolicy:
    """How long a client waits for an answer, and how often it retries.

    Attributes:
        retries: when a failed call is retried.
        budget: limits retries and hedges.
        call_timeout: seconds for one attempt; None for the time that remains of the whole.
        hedge_after: seconds after which a second attempt is made beside one without an answer; None for never.
    """

    retries: Retries
    budget: RetryBudget
    call_timeout: float | None = None
    hedge_after: float | None = None

    def attempt_timeout(self, deadline: Deadline) -> float:
        """Return the timeout of an attempt that starts now, in seconds."""
        remaining = deadline.remaining()
        return min(remaining, self.call_timeout or remaining)


def call_with_retries(deadline: Deadline, policy: CallPolicy) -> Generator[Action, Any, Prediction]:
    """Make one call until it is answered.

    Yields:
        The next action; the caller sends its outcome back, or throws its error.

    Raises:
        ServerError: an error that is not retried, or the last one when attempts, budget or time are used up.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            prediction: Prediction = yield from _attempt(deadline, policy)
        except (ServerUnavailable, Overloaded):
            pause = policy.retries.pause(attempt - 1)
            if attempt >= policy.retries.attempts or not deadline.allows(pause) or not policy.budget.spend():
                raise
            yield Pause(pause)
        else:
            policy.budget.earn()
            return prediction


def _attempt(deadline: Deadline, policy: CallPolicy) -> Generator[Action, Any, Any]:
    """Make a call; if it is slow make a second one beside it, and take the first answer.

    Source: Dean and Barroso, "The Tail at Scale", 2013, "hedged requests"; limited by the retry budget as in gRFC A6.
    """
    if policy.hedge_after is None:
        return (yield Send(policy.attempt_timeout(deadline)))
    yield Start(policy.attempt_timeout(deadline))
    answer = yield WaitForFirst(policy.hedge_after)
    if answer is None and deadline.allows(0) and policy.budget.spend():
        yield Start(policy.attempt_timeout(deadline))
        answer = yield from _either()
    return answer or (yield WaitForFirst(None))


def _either() -> Generator[Action, Any, Any]:
    """Wait for the answer of one of two calls; if the first fails with a temporary error, wait for the other one."""
    try:
        return (yield WaitForFirst(None))
    except (ServerUnavailable, Overloaded, DeadlineExceeded):
        return (yield WaitForFirst(None))
