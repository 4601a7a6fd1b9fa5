"""What a client checks of its settings: each has a type, and says what would do."""

from __future__ import annotations

import math
from numbers import Integral, Real

__all__ = ["check_counts", "check_seconds", "expect"]


def expect(name: str, value: object, kinds: type | tuple[type, ...], meant: str) -> None:
    """Refuse a value of another type than is meant.

    Raises:
        TypeError: says what would do.

    >>> expect("tls", True, Tls, "a Tls, Tls() for the usual authorities")
    Traceback (most recent call last):
    TypeError: tls must be a Tls, Tls() for the usual authorities, got bool: True
    """
    if not isinstance(value, kinds):
        raise TypeError(f"{name} must be {meant}, got {type(value).__name__}: {value!r:.60}")


def check_seconds(**settings: float | None) -> None:
    """Refuse what is no positive number of seconds; None is for those that may be left out.

    Raises:
        TypeError, ValueError: names the setting.
    """
    for name, value in settings.items():
        if value is None:
            continue
        expect(name, value, Real, "a number of seconds")
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be a positive number of seconds, got {value}")


def check_counts(**settings: int | None) -> None:
    """Refuse what is no whole number of at least 1; None is for those that may be left out.

    Raises:
        TypeError, ValueError: names the setting.
    """
    for name, value in settings.items():
        if value is None:
            continue
        expect(name, value, Integral, "a whole number")
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
