"""When a call that failed is made again, and when not: the same rules for every client, without the waiting."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeAlias

from bertbundle.errors import DeadlineExceeded, Overloaded, ServerUnavailable
from bertbundle.primitives import Prediction

__all__ = ["Action", "Budget", "Deadline", "Pause", "Retries", "Send", "persist"]


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
        """Return the seconds to wait after the attempt of that number, the first being 0."""
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


Action: TypeAlias = "Send | Pause"


def persist(
    deadline: Deadline, retries: Retries, budget: Budget, call_timeout: float | None = None
) -> Generator[Action, Any, Prediction]:
    """Make one call until it is answered: yields what to do next, is sent the answer to a `Send`, or thrown its error.

    Raises:
        ServerError: an error that is not repeated, or the last one when attempts, budget or time are used up.
    """
    attempt = 0
    while True:
        timeout = deadline.left()
        try:
            prediction: Prediction = yield Send(min(timeout, call_timeout or timeout))
        except (ServerUnavailable, Overloaded):
            pause = retries.pause(attempt)
            attempt += 1
            if attempt >= retries.attempts or not deadline.allows(pause) or not budget.spend():
                raise
            yield Pause(pause)
        else:
            budget.earn()
            return prediction
