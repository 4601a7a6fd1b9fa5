"""Admission control: limits on requests in flight, and the error handling, metrics and log of every request."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass

from bertbundle_serving.dataplane.metrics import Metrics
from bertbundle_serving.errors import INTERNAL_TEXT, RequestError, deadline_exceeded
from bertbundle_serving.repository.repository import Repository

__all__ = ["AdmissionControl", "Limits", "RequestInfo"]

_logger = logging.getLogger(__name__)
_request_log = logging.getLogger("bertbundle_serving.requests")
_UNKNOWN_MODEL = "(other)"
_POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on requests.

    Attributes:
        calls: maximum number of requests in flight.
        message_bytes: maximum size of one request, and of the outputs of one response.
        total_bytes: maximum size of all requests in flight, and of all REST bodies being received.
    """

    calls: int = 1000
    message_bytes: int = 64 << 20
    total_bytes: int = 512 << 20


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """What the limits, the metrics and the log need to know about a request.

    Attributes:
        model: the model that the request names.
        api: Predict, Classify, ...: the names in TensorFlow Serving's metrics.
        entrypoint: GRPC or REST.
        size: size of the request in bytes.
    """

    model: str
    api: str
    entrypoint: str
    size: int


class AdmissionControl:
    """Admits requests while there is capacity, and records how they end.

    Args:
        limits: limits on requests.
        metrics: counts every request.
        repository: knows which models are served.
        log_requests: whether to log a line for each request, never with its contents.

    Attributes:
        calls_in_flight: number of admitted requests that have not ended.
        finished_calls: number of requests that have ended, refused ones included.
    """

    def __init__(self, limits: Limits, metrics: Metrics, repository: Repository, *, log_requests: bool = False) -> None:
        self._repository = repository
        self._limits = limits
        self._metrics = metrics
        self._log_requests = log_requests
        self._bytes_in_flight = 0
        self._reserved_bytes = 0
        self.calls_in_flight = 0
        self.finished_calls = 0
        metrics.in_flight.set_function(lambda: self.calls_in_flight)

    @contextlib.contextmanager
    def admit(self, request: RequestInfo) -> Iterator[None]:
        """Count a request as in flight while the context lasts, and turn every exception into a RequestError.

        A timeout becomes DEADLINE_EXCEEDED. Unexpected exceptions become INTERNAL with a fixed text: the details are
        logged.

        Raises:
            RequestError: RESOURCE_EXHAUSTED, a limit is exceeded; or the error that ended the request.
        """
        started, code = time.perf_counter(), "CANCELLED"
        self.calls_in_flight += 1
        self._bytes_in_flight += request.size
        try:
            with _public_errors():
                self._check_capacity()
                yield
            code = "OK"
        except RequestError as error:
            code = error.code
            raise
        finally:
            self.calls_in_flight -= 1
            self.finished_calls += 1
            self._bytes_in_flight -= request.size
            self._record(request, code, time.perf_counter() - started)

    def reserve(self, size: int) -> None:
        """Reserve memory for `size` more bytes of a REST body that is being received. `release` frees them.

        gRPC needs no reservation: it delivers whole messages. Bodies do not count as in flight, so that clients that
        stall in the middle of a body do not block gRPC requests.

        Raises:
            RequestError: RESOURCE_EXHAUSTED, all bodies together are too large.
        """
        self._reserved_bytes += size
        if self._reserved_bytes > self._limits.total_bytes:
            raise self._exhausted("request bodies being received")

    def release(self, size: int) -> None:
        """Release `size` reserved bytes."""
        self._reserved_bytes -= size

    async def wait_until_idle(self, seconds: float) -> None:
        """Wait up to `seconds` for in-flight requests."""
        end = time.monotonic() + seconds
        while self.calls_in_flight and time.monotonic() < end:
            await asyncio.sleep(_POLL_SECONDS)

    def _check_capacity(self) -> None:
        if self.calls_in_flight > self._limits.calls:
            raise RequestError("RESOURCE_EXHAUSTED", "Server Threadpool Exhausted")
        if self._bytes_in_flight > self._limits.total_bytes and self.calls_in_flight > 1:
            raise self._exhausted("requests in flight")

    def _exhausted(self, kind: str) -> RequestError:
        text = f"the {kind} exceed {self._limits.total_bytes} bytes in total; retry later"
        return RequestError("RESOURCE_EXHAUSTED", text)

    def _record(self, request: RequestInfo, code: str, seconds: float) -> None:
        # All unknown models share one label: otherwise clients could fill the memory with labels.
        model = request.model if request.model in self._repository.models else _UNKNOWN_MODEL
        self._metrics.serving.request_finished(model, request.api, request.entrypoint, code, seconds)
        if self._log_requests:
            fields = {"model": model, "api": request.api, "entrypoint": request.entrypoint, "code": code}
            numbers = {"bytes": request.size, "milliseconds": round(seconds * 1e3, 3)}
            _request_log.info("request", extra={"fields": fields | numbers})


@contextlib.contextmanager
def _public_errors() -> Iterator[None]:
    """Replace exceptions with the RequestErrors that clients may see."""
    try:
        yield
    except asyncio.TimeoutError as error:
        raise deadline_exceeded() from error
    except RequestError as error:
        if error.code != "INTERNAL":
            raise
        _logger.error("a request failed: %s", error.message, exc_info=error)
        raise RequestError("INTERNAL", INTERNAL_TEXT) from error
    except Exception as error:  # a bug in one request must not stop the server
        _logger.exception("a request failed")
        raise RequestError("INTERNAL", INTERNAL_TEXT) from error
