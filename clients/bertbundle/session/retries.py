"""When a call that failed is made again, and when not: the same rules for every client, without the waiting."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from bertbundle.contract.types import Prediction
from bertbundle.errors import DeadlineExceeded, Overloaded, ServerError, ServerUnavailable

__all__ = ["Action", "Begin", "Budget", "Deadline", "Pause", "Retries", "Rules", "Send", "Wait", "failed", "persist"]


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a call is made again that found no server, or one with too much to do. Nothing else is repeated.

    Attributes:
        attempts: most times that one call is made; 1 for no retries.
        first_pause: seconds before the second attempt, at most; doubled for each one after. The actual pause is random
            up to that, so that clients do not come back all at once ("full jitter").
        longest_pause: seconds that a pause may take.
        budget: failures in a row that a client makes up for with retries; each success earns a tenth of one back.
            Source of the scheme: gRFC A6, "Throttling Retry Attempts".

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
        """Return the seconds to wait after the attempt of that number, the first being 0.

        >>> 0 <= Retries(first_pause=0.1).pause(1) <= 0.2
        True
        """
        limit = min(self.longest_pause, self.first_pause * 2.0 ** min(attempt, 60))
        return random.uniform(0, limit)  # noqa: S311 - spreads load, guards nothing


class Budget:
    """How many failures a client may still make up for; shared by its threads."""

    def __init__(self, size: int) -> None:
        """Begin with a full budget."""
        self._size = self._left = float(size)
        self._lock = threading.Lock()

    def spend(self) -> bool:
        """Take one retry, if one is left."""
        with self._lock:
            allowed = self._left >= 1
            self._left -= allowed
            return allowed

    def earn(self) -> None:
        """Note a success."""
        with self._lock:
            self._left = min(self._size, self._left + 0.1)


class Deadline:
    """A point in time by which all of a method call must be done."""

    def __init__(self, seconds: float) -> None:
        """Set it to `seconds` from now."""
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def allows(self, seconds: float) -> bool:
        """Return whether that many seconds are left, and more."""
        return time.monotonic() + seconds < self._end

    def left(self) -> float:
        """Return the seconds that are left.

        Raises:
            DeadlineExceeded: none are.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded(
                f"no answer within {self._seconds} s. Raise the timeout, or send fewer texts at once.",
                code="DEADLINE_EXCEEDED",
            )
        return left


@dataclass(frozen=True, slots=True)
class Send:
    """Make the call, within `timeout` seconds."""

    timeout: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Begin:
    """Make the call in the background, within `timeout` seconds."""

    timeout: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait for what comes first of the calls in the background; for nothing after `seconds`, if that is not None."""

    seconds: float | None


Action: TypeAlias = "Send | Pause | Begin | Wait"


class Done(Protocol):
    """A future, of threads or of asyncio, that is done."""

    def result(self) -> object:
        """Return what came."""


def failed(future: Done) -> bool:
    """Tell whether an error came: of several that are done, an answer is taken first."""
    return isinstance(future.result(), ServerError)


@dataclass(frozen=True, slots=True)
class Rules:
    """How long one client waits, and how often it asks.

    Attributes:
        retries: when a call is made again that failed.
        budget: what retries and hedges are paid from.
        call_timeout: seconds for one attempt; None for what is left of the whole.
        hedge_after: seconds after which a second attempt is made beside one that has no answer yet; None for never.
    """

    retries: Retries
    budget: Budget
    call_timeout: float | None = None
    hedge_after: float | None = None

    def timeout(self, deadline: Deadline) -> float:
        """Return the seconds for an attempt that begins now."""
        left = deadline.left()
        return min(left, self.call_timeout or left)


def persist(deadline: Deadline, rules: Rules) -> Generator[Action, Any, Prediction]:
    """Make one call until it is answered: yields what to do next, is sent what came of it, or thrown its error.

    Raises:
        ServerError: an error that is not repeated, or the last one when attempts, budget or time are used up.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            prediction: Prediction = yield from _attempt(deadline, rules)
        except (ServerUnavailable, Overloaded):
            pause = rules.retries.pause(attempt - 1)
            if attempt >= rules.retries.attempts or not deadline.allows(pause) or not rules.budget.spend():
                raise
            yield Pause(pause)
        else:
            rules.budget.earn()
            return prediction


def _attempt(deadline: Deadline, rules: Rules) -> Generator[Action, Any, Any]:
    """Make a call, a second time beside the first one if that is late; the first answer counts.

    Source: Dean and Barroso, "The Tail at Scale", 2013, "hedged requests"; paid from the budget as in gRFC A6.
    """
    if rules.hedge_after is None:
        return (yield Send(rules.timeout(deadline)))
    yield Begin(rules.timeout(deadline))
    answer = yield Wait(rules.hedge_after)
    if answer is None and deadline.allows(0) and rules.budget.spend():
        yield Begin(rules.timeout(deadline))
        answer = yield from _either()
    return answer or (yield Wait(None))


def _either() -> Generator[Action, Any, Any]:
    """Wait for the answer of one of two calls: an error that the other one may not have does not count."""
    try:
        return (yield Wait(None))
    except (ServerUnavailable, Overloaded, DeadlineExceeded):
        return (yield Wait(None))
