"""What is recorded of each request when it ends: a line of the log, and metrics."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Iterator
from contextvars import ContextVar

from bertbundle_gateway.core.errors import RequestError
from bertbundle_gateway.core.metrics import GatewayMetrics
from bertbundle_gateway.core.models import ModelRef

__all__ = ["RequestObserver", "deadline"]

_request_log = logging.getLogger("bertbundle_gateway.requests")
_late: ContextVar[float] = ContextVar("late", default=math.inf)
_LATE = 0.9
"""Callers count their time from an earlier moment: a request that is cancelled after so much of it was too slow."""


@contextlib.contextmanager
def deadline(seconds: float | None) -> Iterator[None]:
    """Tell observers that what runs in this context, and in its tasks, may take some seconds; None for any time.

    At its deadline, gRPC or the REST API cancels a request, as when its caller leaves: only the time says why.
    """
    token = _late.set(math.inf if seconds is None else time.perf_counter() + _LATE * seconds)
    try:
        yield
    finally:
        _late.reset(token)


class RequestObserver:
    """Logs and counts requests."""

    def __init__(self, metrics: GatewayMetrics | None, *, log_requests: bool) -> None:
        """Count requests, if there are metrics; `log_requests` logs a line for each, never with its texts."""
        self._metrics = metrics
        self._log_requests = log_requests

    @contextlib.contextmanager
    def observe(self, ref: ModelRef, method: str, texts: int = 0, *, failures_only: bool = False) -> Iterator[None]:
        """Record a request when the context ends.

        Args:
            ref: the model.
            method: the name of the method; never of the caller's choice, as it is a label of metrics.
            texts: number of texts.
            failures_only: whether success is not recorded, as of the first step of a request that has further ones.
        """
        started, code = time.perf_counter(), "CANCELLED"
        try:
            yield
            code = "OK"
        except asyncio.CancelledError:
            code = "DEADLINE_EXCEEDED" if time.perf_counter() >= _late.get() else "CANCELLED"
            raise
        except Exception as error:
            code = error.code if isinstance(error, RequestError) else "INTERNAL"
            raise
        finally:
            if code != "OK" or not failures_only:
                self._record(ref.name, method, code, texts, time.perf_counter() - started)

    def _record(self, model: str, method: str, code: str, texts: int, seconds: float) -> None:
        if self._metrics is not None:
            self._metrics.request_finished(model, method, code, texts, seconds)
        if self._log_requests:
            fields = {"model": model, "method": method, "texts": texts, "code": code}
            _request_log.info("request", extra={"fields": {**fields, "milliseconds": round(seconds * 1e3, 3)}})
