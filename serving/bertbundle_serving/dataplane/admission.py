"""What every request passes, whichever way it came: limits, a deadline, what is told of an error."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from bertbundle_serving.dataplane.metrics import Metrics
from bertbundle_serving.errors import INTERNAL_TEXT, RequestError
from bertbundle_serving.repository.repository import Repository

__all__ = ["Front", "Limits", "Request"]

T = TypeVar("T")

_logger = logging.getLogger(__name__)
_requests = logging.getLogger("bertbundle_serving.requests")
_OTHER = "(other)"
_LOOK_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Limits:
    """What the server holds at a time.

    Attributes:
        calls: requests in flight.
        message_bytes: size of one request; of the outputs of one answer, too.
        total_bytes: size of all requests in flight; of all REST bodies that arrive, too.
    """

    calls: int = 1000
    message_bytes: int = 64 << 20
    total_bytes: int = 512 << 20


@dataclass(frozen=True, slots=True)
class Request:
    """What a request is, for limits, metrics and log.

    Attributes:
        model: the model it names.
        api: Predict, Classify, ...; TensorFlow Serving's labels.
        entrypoint: GRPC or REST.
        size: bytes of the request.
    """

    model: str
    api: str
    entrypoint: str
    size: int


class Front:
    """Lets requests in, and tells what became of them.

    Args:
        limits: what is held at a time.
        metrics: told of every request.
        repository: knows which model names are served.
        log_requests: whether each request is a line in the log. Its contents never are.
    """

    def __init__(self, limits: Limits, metrics: Metrics, repository: Repository, *, log_requests: bool = False) -> None:
        self._repository = repository
        self._limits = limits
        self._metrics = metrics
        self._log_requests = log_requests
        self._calls = 0
        self._bytes = 0
        self._arriving = 0
        self.answered = 0

    async def idle(self, seconds: float) -> None:
        """Wait until nothing is in flight, so many seconds at most."""
        end = time.monotonic() + seconds
        while self._calls and time.monotonic() < end:
            await asyncio.sleep(_LOOK_SECONDS)

    def arrive(self, size: int) -> None:
        """Note that so many bytes of a REST body are here, before it is a request; `left` takes them back.

        gRPC hands over whole messages. Bodies count apart: whoever stalls with one keeps no gRPC caller out.

        Raises:
            RequestError: RESOURCE_EXHAUSTED, too much arrives.
        """
        self._arriving += size
        if self._arriving > self._limits.total_bytes:
            raise self._too_much("bodies that arrive")

    def left(self, size: int) -> None:
        """Note that a body of so many bytes is a request now, or was given up."""
        self._arriving -= size

    async def answer(self, request: Request, work: Coroutine[Any, Any, T], seconds: float | None) -> T:
        """Return what `work` returns, within so many seconds.

        Raises:
            RequestError: RESOURCE_EXHAUSTED, too much is in flight; DEADLINE_EXCEEDED; or what `work` raises, with a
                fixed text in place of what is not the caller's business.
        """
        started, code = time.perf_counter(), "CANCELLED"
        self._calls += 1
        self._bytes += request.size
        try:
            result = await self._guarded(work, seconds)
            code = "OK"
            return result
        except RequestError as error:
            code = error.code
            raise
        finally:
            work.close()  # where it was not awaited
            self._calls -= 1
            self.answered += 1
            self._bytes -= request.size
            self._tell(request, code, time.perf_counter() - started)

    async def _guarded(self, work: Coroutine[Any, Any, T], seconds: float | None) -> T:
        try:
            self._check_room()
            return await asyncio.wait_for(work, seconds)
        except asyncio.TimeoutError as error:
            raise RequestError("DEADLINE_EXCEEDED", "Timed out waiting for notification") from error
        except RequestError as error:
            raise _public(error) from error
        except Exception as error:  # a bug in one request must not reach its caller, nor end the server
            _logger.exception("a request failed")
            raise RequestError("INTERNAL", INTERNAL_TEXT) from error

    def _check_room(self) -> None:
        if self._calls > self._limits.calls:
            raise RequestError("RESOURCE_EXHAUSTED", "Server Threadpool Exhausted")
        if self._bytes > self._limits.total_bytes and self._calls > 1:
            raise self._too_much("requests in flight")

    def _too_much(self, what: str) -> RequestError:
        text = f"the {what} hold more than {self._limits.total_bytes} bytes; try again later"
        return RequestError("RESOURCE_EXHAUSTED", text)

    def _tell(self, request: Request, code: str, seconds: float) -> None:
        # Names that nobody serves share one label: else a client could fill the memory with them.
        model = request.model if request.model in self._repository.models else _OTHER
        self._metrics.requested(model, request.api, request.entrypoint, code, seconds)
        if self._log_requests:
            fields = {"model": model, "api": request.api, "entrypoint": request.entrypoint, "code": code}
            times = {"bytes": request.size, "milliseconds": round(seconds * 1e3, 3)}
            _requests.info("request", extra={"fields": fields | times})


def _public(error: RequestError) -> RequestError:
    """Return the error as its caller may read it: an INTERNAL one keeps its text to the log."""
    if error.code != "INTERNAL":
        return error
    _logger.error("a request failed: %s", error.message, exc_info=error)
    return RequestError("INTERNAL", INTERNAL_TEXT)
