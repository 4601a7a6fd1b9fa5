"""A cancellation reaches the call that is bound to it."""

from __future__ import annotations

from bertbundle.transports.cancellation import Cancellation


def test_call_in_flight() -> None:
    """A cancellation within the block cancels the call."""
    cancelled: list[str] = []
    cancel = Cancellation()
    with cancel.bound_to(lambda: cancelled.append("call")):
        assert cancelled == []
        cancel()
    assert cancelled == ["call"]


def test_cancelled_before_the_call() -> None:
    """A cancellation before the block cancels the call as soon as it starts."""
    cancelled: list[str] = []
    cancel = Cancellation()
    cancel()
    with cancel.bound_to(lambda: cancelled.append("call")):
        assert cancelled == ["call"]


def test_cancelled_after_the_call() -> None:
    """A cancellation after the block does not cancel the finished call."""
    cancelled: list[str] = []
    cancel = Cancellation()
    with cancel.bound_to(lambda: cancelled.append("call")):
        pass
    cancel()
    assert cancelled == []
