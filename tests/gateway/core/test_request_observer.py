"""What is recorded of each request: a line of the log, and metrics."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from typing import Any

import pytest

from bertbundle_gateway.core.errors import RequestError
from bertbundle_gateway.core.metrics import GatewayMetrics
from bertbundle_gateway.core.models import ModelRef
from bertbundle_gateway.core.request_observer import RequestObserver, deadline
from series import request_counts

TINY = ModelRef("tiny")
FAILED = RequestError("UNAVAILABLE", "SERVER_UNAVAILABLE", "The server cannot be reached.")


@pytest.mark.parametrize(
    ("error", "code"),
    [(None, "OK"), (FAILED, "UNAVAILABLE"), (ValueError("a bug"), "INTERNAL"), (asyncio.CancelledError(), "CANCELLED")],
    ids=["answered", "failed", "bug", "cancelled"],
)
@pytest.mark.parametrize("failures_only", [False, True])
def test_log_and_metrics(
    caplog: pytest.LogCaptureFixture, error: BaseException | None, code: str, failures_only: bool
) -> None:
    """The log and the metrics say the same of a request; of a step of another one only that it failed."""
    metrics = GatewayMetrics(["tiny"])
    observer = RequestObserver(metrics, log_requests=True)

    def end() -> None:
        with observer.observe(TINY, "entities", 2, failures_only=failures_only):
            if error is not None:
                raise error

    with caplog.at_level(logging.INFO, "bertbundle_gateway.requests"):
        if error is None:
            end()
        else:
            with pytest.raises(type(error)):
                end()
    is_recorded = error is not None or not failures_only
    lines: list[dict[str, Any]] = [vars(record)["fields"] for record in caplog.records]
    expected = {"model": "tiny", "method": "entities", "texts": 2, "code": code}
    assert [{**line, "milliseconds": 0} for line in lines] == [{**expected, "milliseconds": 0}] * is_recorded
    assert request_counts(metrics.exposition()) == ({("tiny", "entities", code): 1} if is_recorded else {})


@pytest.mark.parametrize(
    ("seconds", "code"), [(0.0, "DEADLINE_EXCEEDED"), (60.0, "CANCELLED"), (None, "CANCELLED")], ids=str
)
def test_cancelled_at_the_deadline(seconds: float | None, code: str) -> None:
    """A request that is cancelled when its time is over was too slow; earlier, its caller has left."""
    metrics = GatewayMetrics(["tiny"])
    observer = RequestObserver(metrics, log_requests=False)

    async def request() -> None:
        with observer.observe(TINY, "entities", 1):
            raise asyncio.CancelledError

    async def answer() -> None:
        with deadline(seconds):
            await asyncio.gather(request(), return_exceptions=True)  # in a task of its own
        with contextlib.suppress(asyncio.CancelledError):
            await request()  # the deadline was that of the other one

    asyncio.run(answer())
    expected = Counter([("tiny", "entities", code), ("tiny", "entities", "CANCELLED")])
    assert request_counts(metrics.exposition()) == expected


def test_nothing_is_logged_by_default(caplog: pytest.LogCaptureFixture) -> None:
    """Without the option there is no line."""
    with caplog.at_level(logging.INFO), RequestObserver(None, log_requests=False).observe(TINY, "entities", 1):
        pass
    assert not caplog.records
