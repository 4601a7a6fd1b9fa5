"""Limits on requests."""

from __future__ import annotations

import pytest

from bertbundle_gateway.core.errors import RequestError
from bertbundle_gateway.core.limits import Gate, Limits
from fakes import make_manifest


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        ([], "NO_TEXTS"),
        (["a"] * 4, "TOO_MANY_TEXTS"),
        (["abcdef", "ghijk"], "TOO_MANY_CHARACTERS"),
        ([("abcdef", "ghijk")], "TOO_MANY_CHARACTERS"),
        ([["abcdef", "ghijk"]], "TOO_MANY_CHARACTERS"),
        ([[""] * 12], "TOO_MANY_CHARACTERS"),
    ],
)
def test_refused(items: list[object], reason: str) -> None:
    """Too many texts or characters are refused, those of pairs and words included."""
    with pytest.raises(RequestError) as caught:
        Limits(texts=3, characters=10).check(items)
    assert (caught.value.code, caught.value.reason) == ("INVALID_ARGUMENT", reason)


def test_accepted() -> None:
    """A request at the limits is accepted."""
    Limits(texts=3, characters=7).check(["ab", ("c", "d"), ["e", "f"]])
    Limits().check_fills(["[MASK] " * 100, "none"], make_manifest("fill-mask"))


def test_masks() -> None:
    """A text with so many masks that the results would fill the memory is refused."""
    with pytest.raises(RequestError, match="would have 224000000 characters") as caught:
        Limits().check_fills(["[MASK] " * 4000, "none"], make_manifest("fill-mask"))
    assert caught.value.reason == "TOO_MANY_MASKS"


def test_gate() -> None:
    """At most so many requests are in flight; an ended one makes room, also if it failed."""
    gate = Gate(1)
    with gate.admit(), pytest.raises(RequestError, match="at most 1 are accepted") as caught:
        gate.admit().__enter__()
    assert caught.value.code == "RESOURCE_EXHAUSTED"
    with pytest.raises(ZeroDivisionError), gate.admit():
        raise ZeroDivisionError
    assert gate.in_flight == 0
