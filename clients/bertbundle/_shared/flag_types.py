"""Types of flag values: each parses a string and raises argparse.ArgumentTypeError if it is malformed."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

__all__ = [
    "boolean",
    "channel_arguments",
    "count",
    "path",
    "port",
    "positive_count",
    "positive_int",
    "positive_seconds",
    "seconds",
]

_MAX_COUNT = 4096
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def path(text: str) -> Path:
    """Parse a path, which must not be empty."""
    if not text:
        raise argparse.ArgumentTypeError("the path is empty")
    return Path(text)


def boolean(text: str) -> bool:
    """Parse "true", "1", "false" or "0", in any case."""
    try:
        return _BOOLEANS[text.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false") from None


def channel_arguments(text: str) -> tuple[tuple[str, int | str], ...]:
    """Parse ``name=value,...`` into (name, value) pairs; integer values become int."""
    pairs = [pair.partition("=") for pair in text.split(",") if pair]
    if any(not name or not equals for name, equals, _ in pairs):
        raise argparse.ArgumentTypeError(f"{text!r} is not name=value,...")
    return tuple((name, int(value) if value.lstrip("-").isdigit() else value) for name, _, value in pairs)


def seconds(text: str) -> float:
    """Parse a finite number of seconds."""
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value


def positive_seconds(text: str) -> float:
    """Parse a positive, finite number of seconds."""
    value = seconds(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return value


def positive_int(text: str) -> int:
    """Parse a positive 32-bit integer."""
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {2**31 - 1}")
    return int(text)


def count(text: str, minimum: int = 0) -> int:
    """Parse a number of threads, retries or requests."""
    # The maximum protects against typos: every thread takes memory.
    if not (text.isascii() and text.isdigit()) or not minimum <= int(text) <= _MAX_COUNT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from {minimum} to {_MAX_COUNT}")
    return int(text)


def positive_count(text: str) -> int:
    """Parse a `count` of at least 1."""
    return count(text, 1)


def port(text: str) -> int:
    """Parse a port number; 0 is allowed."""
    if not (text.isascii() and text.isdigit()) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port number from 0 to 65535")
    return int(text)
