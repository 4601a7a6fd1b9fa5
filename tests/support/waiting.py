"""Waiting for what happens elsewhere, in another thread or process."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS = 20.0
"""Longest wait for something that takes milliseconds: a slow machine is not a failure."""


def wait_until(holds: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Wait until something holds.

    Raises:
        AssertionError: It did not in time.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)
