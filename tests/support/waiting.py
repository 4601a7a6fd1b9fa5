"""Wait for something that happens in another thread or process."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS = 20.0
"""Maximum wait for something that takes milliseconds: a slow machine must not fail a test."""


def wait_until(condition: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Wait until a condition is true.

    Raises:
        AssertionError: it is still false after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"the condition is still false after {seconds:g} s"
        time.sleep(0.005)
