"""TensorFlow Serving's gRPC API, for the sync and the async client."""

from __future__ import annotations

import contextlib
import functools
import random
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from bertbundle.contract.types import PredictCall, Prediction, VersionStatus
from bertbundle.errors import ServerUnavailable
from bertbundle.transports.cancellation import Cancellation
from bertbundle.transports.channels import check_connection, open_channels
from bertbundle.transports.credentials import Tls, Token, call_metadata
from bertbundle.wire.messages import METHODS, predict_request, read_prediction, read_status, status_request
from bertbundle.wire.status_errors import error_from_status

__all__ = ["AsyncGrpcTransport", "Endpoint", "EndpointPool", "GrpcTransport"]


@dataclass(slots=True)
class Endpoint:
    """A channel to one address, which may be the name of several servers.

    Attributes:
        address: where the channel leads.
        channel: gRPC's channel.
        methods: functions that make a call, by the name in `METHODS`.
        in_flight: number of calls without an answer yet.
    """

    address: str
    channel: Any
    methods: Mapping[str, Any]
    in_flight: int = 0


class EndpointPool:
    """The endpoints of one client, used in turn.

    gRPC itself balances over the servers behind one name, and resolves the name again when one of them is gone.
    """

    def __init__(self, api: Any, address: str, tls: Tls | None, compression: str) -> None:
        """Open channels with `api`, ``grpc`` or ``grpc.aio``; nothing is sent."""
        self.endpoints = [
            Endpoint(each, channel, {name: channel.unary_unary(*method) for name, method in METHODS.items()})
            for each, channel in open_channels(api, address, tls, compression)
        ]
        self._turns: list[Endpoint] = []
        self._lock = threading.Lock()

    def attempts(self, timeout: float) -> Generator[tuple[Endpoint, float], grpc.RpcError, None]:
        """Yield the endpoint to call and the remaining seconds; send it the error if the call failed.

        Close the generator when there is an answer.

        Raises:
            ServerError: the error, unless the endpoint is unavailable and there is another one.
        """
        end = time.monotonic() + timeout
        endpoints = self._in_order()
        for endpoint in endpoints:
            self._count(endpoint, 1)
            try:
                error = yield endpoint, max(end - time.monotonic(), 0.0)
            finally:
                self._count(endpoint, -1)
            problem = error_from_status(error.code(), error.details() or "", endpoint.address)
            if endpoint is endpoints[-1] or not isinstance(problem, ServerUnavailable):
                raise problem from error

    def _in_order(self) -> Sequence[Endpoint]:
        """Return the endpoints, the one with the fewest calls first; of equals the one whose turn it is.

        Each round has its own random order, so that a call and its hedge do not keep meeting at the same endpoint.
        """
        with self._lock:
            self._turns = self._turns or random.sample(self.endpoints, len(self.endpoints))
            turn = self._turns.pop()
            return sorted(self.endpoints, key=lambda endpoint: (endpoint.in_flight, endpoint is not turn))

    def _count(self, endpoint: Endpoint, change: int) -> None:
        with self._lock:
            endpoint.in_flight += change


class GrpcTransport:
    """A connection to a TensorFlow Serving compatible server, or to several.

    >>> transport = GrpcTransport("localhost:8500", metadata={"x-team": "search"})
    >>> transport.close()
    """

    def __init__(
        self,
        address: str,
        *,
        tls: Tls | None = None,
        token: Token | None = None,
        metadata: Mapping[str, str] | None = None,
        compression: str = "none",
    ) -> None:
        """Connect lazily to `address`: ``host:port``, ``unix:path``, or several of them with commas.

        The first call opens the connection. Calls take turns over the addresses, and over the servers behind a name; if
        one is unavailable, the next one is called. A broken connection is opened again, and the name resolved again. An
        address that is given twice has two connections.

        Args:
            address: where to connect; IPv6 in brackets, ``[::1]:8500``.
            tls: how to secure the connection; None for plain text.
            token: bearer token, or a callable that returns the current token.
            metadata: sent with each call.
            compression: "none", "gzip" or "deflate" for requests.
        """
        self.address = address
        self._pool = EndpointPool(grpc, address, tls, compression)
        self._metadata = call_metadata(token, metadata)

    def predict(self, call: PredictCall, *, timeout: float, cancel: Cancellation | None = None) -> Prediction:
        """See `Transport.predict`."""
        return read_prediction(self._call("predict", predict_request(call), timeout, cancel), self.address)

    def status(self, model: str, *, timeout: float) -> list[VersionStatus]:
        """See `Transport.status`."""
        return read_status(self._call("status", status_request(model), timeout))

    def _call(self, method: str, request: Any, timeout: float, cancel: Cancellation | None = None) -> Any:
        with contextlib.closing(self._pool.attempts(timeout)) as attempts:
            answer = self._send(*next(attempts), method, request, cancel)
            while isinstance(answer, grpc.RpcError):
                answer = self._send(*attempts.send(answer), method, request, cancel)
            return answer

    def _send(self, endpoint: Endpoint, timeout: float, method: str, request: Any, cancel: Cancellation | None) -> Any:
        """Return the server's answer, or the error."""
        send, metadata = endpoint.methods[method], _current(self._metadata)
        try:
            if cancel is None:
                return send(request, timeout=timeout, metadata=metadata)
            call = send.future(request, timeout=timeout, metadata=metadata)
            with cancel.of(call.cancel):
                return call.result()
        except grpc.FutureCancelledError as error:
            raise error_from_status(grpc.StatusCode.CANCELLED, "cancelled here", endpoint.address) from error
        except grpc.RpcError as error:
            return error

    def close(self) -> None:
        """See `Transport.close`."""
        for endpoint in self._pool.endpoints:
            endpoint.channel.close()


class AsyncGrpcTransport:
    """`GrpcTransport` for asyncio; it belongs to the event loop of its first call.

    >>> async def states():
    ...     transport = AsyncGrpcTransport(address)  # nothing is opened before the first call
    ...     versions = await transport.status("tiny", timeout=5)
    ...     await transport.close()
    ...     return [version.state for version in versions]
    >>> asyncio.run(states())
    ['LOADING', 'AVAILABLE', 'END']
    """

    def __init__(
        self,
        address: str,
        *,
        tls: Tls | None = None,
        token: Token | None = None,
        metadata: Mapping[str, str] | None = None,
        compression: str = "none",
    ) -> None:
        """Connect lazily, as `GrpcTransport` does."""
        check_connection(address, compression)
        self.address = address
        self._open = functools.partial(EndpointPool, grpc.aio, address, tls, compression)
        self._metadata = call_metadata(token, metadata)
        self._pool: EndpointPool | None = None

    async def predict(self, call: PredictCall, *, timeout: float) -> Prediction:
        """See `Transport.predict`; cancelling the task cancels the call."""
        return read_prediction(await self._call("predict", predict_request(call), timeout), self.address)

    async def status(self, model: str, *, timeout: float) -> list[VersionStatus]:
        """See `Transport.status`."""
        return read_status(await self._call("status", status_request(model), timeout))

    async def _call(self, method: str, request: Any, timeout: float) -> Any:
        if self._pool is None:  # not earlier: a channel needs a running loop
            self._pool = self._open()
        with contextlib.closing(self._pool.attempts(timeout)) as attempts:
            answer = await self._send(*next(attempts), method, request)
            while isinstance(answer, grpc.RpcError):
                answer = await self._send(*attempts.send(answer), method, request)
            return answer

    async def _send(self, endpoint: Endpoint, timeout: float, method: str, request: Any) -> Any:
        """Return the server's answer, or the error."""
        try:
            return await endpoint.methods[method](request, timeout=timeout, metadata=_current(self._metadata))
        except grpc.RpcError as error:
            return error

    async def close(self) -> None:
        """See `Transport.close`."""
        for endpoint in self._pool.endpoints if self._pool else ():
            await endpoint.channel.close()


def _current(metadata: Any) -> Any:
    """Return the metadata of a call that is made now."""
    return metadata() if callable(metadata) else metadata
