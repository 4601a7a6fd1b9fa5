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
from bertbundle.transports.credentials import Tls, Token, make_metadata
from bertbundle.wire.messages import METHODS, predict_request, read_prediction, read_status, status_request
from bertbundle.wire.status_errors import error_from_status

__all__ = ["AsyncGrpcTransport", "Endpoint", "EndpointPool", "GrpcTransport"]


@dataclass(slots=True)
class Endpoint:
    """A channel to one address, which may be a name that resolves to several servers.

    Attributes:
        address: the target of the channel, for example ``host:port``.
        channel: the channel.
        methods: functions that make a call, by the method's name in `METHODS`.
        in_flight: number of in-flight calls.
    """

    address: str
    channel: Any
    methods: Mapping[str, Any]
    in_flight: int = 0


class EndpointPool:
    """Distributes the calls of one client over its endpoints.

    gRPC itself distributes calls over the servers behind a name, and resolves the name again when a connection closes.
    """

    def __init__(self, api: Any, address: str, tls: Tls | None, compression: str) -> None:
        """Create channels of `api`, which is ``grpc`` or ``grpc.aio``; they connect on the first call."""
        self.endpoints = [
            Endpoint(target, channel, {name: channel.unary_unary(*method) for name, method in METHODS.items()})
            for target, channel in open_channels(api, address, tls, compression)
        ]
        self._turns: list[Endpoint] = []
        self._lock = threading.Lock()

    def attempts(self, timeout: float) -> Generator[tuple[Endpoint, float], grpc.RpcError, None]:
        """Yield the endpoint to call and the remaining seconds; to try the next endpoint, send the error of the call.

        The caller closes the generator when it has a response.

        Raises:
            ServerError: the call failed, unless the endpoint is unavailable and another one remains.
        """
        end = time.monotonic() + timeout
        endpoints = self._in_order()
        for endpoint in endpoints:
            self._count(endpoint, 1)
            try:
                error = yield endpoint, max(end - time.monotonic(), 0.0)
            finally:
                self._count(endpoint, -1)
            server_error = error_from_status(error.code(), error.details() or "", endpoint.address)
            if endpoint is endpoints[-1] or not isinstance(server_error, ServerUnavailable):
                raise server_error from error

    def _in_order(self) -> Sequence[Endpoint]:
        """Return the endpoints, those with the fewest in-flight calls first; among equals, the one whose turn it is.

        The order of turns is random in each round, so that a call and its hedge do not always use the same pair.
        """
        with self._lock:
            self._turns = self._turns or random.sample(self.endpoints, len(self.endpoints))
            turn = self._turns.pop()
            return sorted(self.endpoints, key=lambda endpoint: (endpoint.in_flight, endpoint is not turn))

    def _count(self, endpoint: Endpoint, change: int) -> None:
        with self._lock:
            endpoint.in_flight += change


class GrpcTransport:
    """Connects to the gRPC port of one or more TensorFlow Serving compatible servers.

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
        """Create a transport; it connects on the first call.

        Calls are distributed over the addresses, and over the servers behind a name. If an address is unavailable, the
        next one is called. If a connection breaks, gRPC resolves the name again and reconnects.

        Args:
            address: ``host:port``, ``unix:path``, or several of them separated by commas; IPv6 in brackets,
                ``[::1]:8500``. An address that is listed twice gets two connections.
            tls: TLS settings; None for plain text.
            token: bearer token, or a callable that returns the current token.
            metadata: names and values that are sent with each call.
            compression: compression of requests: "none", "gzip" or "deflate".
        """
        self.address = address
        self._pool = EndpointPool(grpc, address, tls, compression)
        self._metadata = make_metadata(token, metadata)

    def predict(self, call: PredictCall, *, timeout: float, cancel: Cancellation | None = None) -> Prediction:
        """See `Transport.predict`."""
        return read_prediction(self._call("predict", predict_request(call), timeout, cancel), self.address)

    def status(self, model: str, *, timeout: float) -> list[VersionStatus]:
        """See `Transport.status`."""
        return read_status(self._call("status", status_request(model), timeout))

    def _call(self, method: str, request: Any, timeout: float, cancel: Cancellation | None = None) -> Any:
        with contextlib.closing(self._pool.attempts(timeout)) as attempts:
            response = self._send(*next(attempts), method, request, cancel)
            while isinstance(response, grpc.RpcError):
                response = self._send(*attempts.send(response), method, request, cancel)
            return response

    def _send(self, endpoint: Endpoint, timeout: float, method: str, request: Any, cancel: Cancellation | None) -> Any:
        """Return the server's response, or the error."""
        send, metadata = endpoint.methods[method], self._metadata()
        try:
            if cancel is None:
                return send(request, timeout=timeout, metadata=metadata)
            call = send.future(request, timeout=timeout, metadata=metadata)
            with cancel.bound_to(call.cancel):
                return call.result()
        except grpc.FutureCancelledError as error:
            raise error_from_status(grpc.StatusCode.CANCELLED, "cancelled by the client", endpoint.address) from error
        except grpc.RpcError as error:
            return error

    def close(self) -> None:
        """See `Transport.close`."""
        for endpoint in self._pool.endpoints:
            endpoint.channel.close()


class AsyncGrpcTransport:
    """`GrpcTransport` for asyncio; it belongs to the event loop of its first call.

    >>> async def states():
    ...     transport = AsyncGrpcTransport(address)  # connects on the first call
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
        """Create a transport; the parameters are those of `GrpcTransport`."""
        check_connection(address, compression)
        self.address = address
        self._open = functools.partial(EndpointPool, grpc.aio, address, tls, compression)
        self._metadata = make_metadata(token, metadata)
        self._pool: EndpointPool | None = None

    async def predict(self, call: PredictCall, *, timeout: float) -> Prediction:
        """See `Transport.predict`; cancelling the task cancels the call."""
        return read_prediction(await self._call("predict", predict_request(call), timeout), self.address)

    async def status(self, model: str, *, timeout: float) -> list[VersionStatus]:
        """See `Transport.status`."""
        return read_status(await self._call("status", status_request(model), timeout))

    async def _call(self, method: str, request: Any, timeout: float) -> Any:
        if self._pool is None:  # not in __init__: a channel needs the running event loop
            self._pool = self._open()
        with contextlib.closing(self._pool.attempts(timeout)) as attempts:
            response = await self._send(*next(attempts), method, request)
            while isinstance(response, grpc.RpcError):
                response = await self._send(*attempts.send(response), method, request)
            return response

    async def _send(self, endpoint: Endpoint, timeout: float, method: str, request: Any) -> Any:
        """Return the server's response, or the error."""
        try:
            return await endpoint.methods[method](request, timeout=timeout, metadata=self._metadata())
        except grpc.RpcError as error:
            return error

    async def close(self) -> None:
        """See `Transport.close`."""
        for endpoint in self._pool.endpoints if self._pool else ():
            await endpoint.channel.close()
