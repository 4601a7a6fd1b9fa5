"""Marks for tests that need an optional package: they skip where it is not installed."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, TypeVar

import pytest

__all__ = ["TORCH_MARKS", "needs_torch"]

TORCH_MARKS = (
    pytest.mark.torch,
    pytest.mark.skipif(find_spec("torch") is None, reason="needs torch: make setup-torch"),
)
"""For `pytestmark` and `pytest.param(marks=...)`: the marker `torch`, and the skip where torch is not installed."""

_Test = TypeVar("_Test", bound=Callable[..., Any])


def needs_torch(test: _Test) -> _Test:
    """Mark a test with `TORCH_MARKS`."""
    for mark in TORCH_MARKS:
        test = mark(test)
    return test
