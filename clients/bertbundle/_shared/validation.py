"""Validate the types and ranges of settings, with error messages that say what is expected."""

from __future__ import annotations

import math
from numbers import Integral, Real

__all__ = ["check_counts", "check_seconds", "check_type", "short_repr"]

_MAX_REPR = 60


def short_repr(value: object) -> str:
    """Return the representation of a value for a message; a long one is cut and ends in three dots.

    >>> short_repr("label " * 100)
    "'label label label label label label label label label la..."
    """
    text = repr(value)
    return text if len(text) <= _MAX_REPR else f"{text[: _MAX_REPR - 3]}..."


def check_type(name: str, value: object, types: type | tuple[type, ...], expected: str) -> None:
    """Check the type of a setting; `expected` describes, for the error message, what to pass.

    Raises:
        TypeError: the value is not an instance of `types`.

    >>> check_type("retries", 3, Retries, "a Retries object")
    Traceback (most recent call last):
    TypeError: retries must be a Retries object, got int: 3
    """
    if not isinstance(value, types):
        raise TypeError(f"{name} must be {expected}, got {type(value).__name__}: {short_repr(value)}")


def check_seconds(**settings: float | None) -> None:
    """Check that each setting is a positive, finite number of seconds, or None.

    Raises:
        TypeError: a setting is not a number.
        ValueError: a setting is not positive or not finite.
    """
    for name, value in settings.items():
        if value is None:
            continue
        check_type(name, value, Real, "a number of seconds")
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be a positive number of seconds, got {value}")


def check_counts(**settings: int | None) -> None:
    """Check that each setting is a whole number of at least 1, or None.

    Raises:
        TypeError: a setting is not a whole number.
        ValueError: a setting is less than 1.
    """
    for name, value in settings.items():
        if value is None:
            continue
        check_type(name, value, Integral, "a whole number")
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
