"""A row of the tables of settings: what happens to a setting of a file, and which values it may have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = [
    "FOLLOWED",
    "NO_EFFECT",
    "REFUSED",
    "Setting",
    "choice",
    "flag",
    "followed",
    "is_length",
    "is_list_of_text",
    "is_number",
    "no_value",
    "only_true",
    "refused",
    "without_effect",
]

FOLLOWED, REFUSED, NO_EFFECT = "followed", "refused", "no effect"


def no_value(value: Any) -> bool:
    """Return whether a value states nothing: null, false, or empty."""
    return value is None or value is False or value in ("", [], {})


@dataclass(frozen=True, slots=True)
class Setting:
    """What happens to some settings of a file.

    Attributes:
        names: their keys.
        outcome: "followed", "refused" or "no effect".
        details: what is done, or which values are supported.
        expected: description of the valid values of a followed setting; "" if they are not checked here.
        is_valid: whether a value is one of them; for a refused setting, whether it changes nothing.
    """

    names: tuple[str, ...]
    outcome: str
    details: str
    expected: str = ""
    is_valid: Callable[[Any], bool] = no_value


def _any_value(value: Any) -> bool:
    """Accept any value."""
    del value
    return True


def followed(names: str, details: str, expected: str = "", is_valid: Callable[[Any], bool] | None = None) -> Setting:
    """Return a setting that is followed; names are separated by spaces."""
    return Setting(tuple(names.split()), FOLLOWED, details, expected, is_valid or _any_value)


def refused(names: str, details: str, *supported: Any) -> Setting:
    """Return a setting that is refused, except for values that state nothing and the supported ones."""
    return Setting(tuple(names.split()), REFUSED, details, is_valid=lambda value: no_value(value) or value in supported)


def without_effect(names: str, details: str) -> Setting:
    """Return a setting that changes no answer."""
    return Setting(tuple(names.split()), NO_EFFECT, details, is_valid=_any_value)


def only_true(names: str) -> Setting:
    """Return a setting that is refused unless it is true."""
    return Setting(tuple(names.split()), REFUSED, "`true` only", is_valid=lambda value: value is None or value is True)


def choice(names: str, details: str, *values: str) -> Setting:
    """Return a setting that is followed and has one of some values."""
    expected = f"{', '.join(values[:-1])} or {values[-1]}"
    return followed(names, details, expected, lambda value: value is None or value in values)


def flag(names: str, details: str) -> Setting:
    """Return a setting that is followed and is true or false."""
    return followed(names, details, "true or false", lambda value: value is None or isinstance(value, bool))


def is_list_of_text(value: Any) -> bool:
    """Return whether a value is a list of str, or states nothing."""
    return value is None or (isinstance(value, list) and all(isinstance(item, str) for item in value))


def is_number(value: Any) -> bool:
    """Return whether a value is an int, or states nothing."""
    return value is None or type(value) is int


def is_length(value: Any) -> bool:
    """Return whether a value is a number of tokens, or states nothing."""
    return value is None or (type(value) in (int, float) and value >= 3)
