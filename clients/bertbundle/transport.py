"""The way to a server: arrays in, arrays out. gRPC and protobuf stay behind it."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import grpc

from bertbundle.primitives import Arrays, Prediction, VersionStatus
from bertbundle.wire import (
    METHODS,
    Metadata,
    Tls,
    Token,
    error_from_status,
    open_channel,
    predict_request,
    read_prediction,
    read_status,
    status_request,
)

__all__ = ["AsyncGrpcTransport", "AsyncTransport", "GrpcTransport", "Transport"]


class Transport(Protocol):
    """What a client needs of a connection. Raises `ServerError` for whatever goes wrong.

    Whatever has these methods can stand between a client and a server, as a log of calls:

    >>> class Log(GrpcTransport):
    ...     def predict(self, model, signature, inputs, **options):
    ...         print(model, signature)
    ...         return super().predict(model, signature, inputs, **options)
    """

    def predict(
        self,
        model: str,
        signature: str,
        inputs: Arrays,
        *,
        outputs: Sequence[str] = (),
        version: int | None = None,
        timeout: float,
    ) -> Prediction:
        """Run a signature; `outputs` empty means all, `version` None the newest, `timeout` is in seconds."""

    def status(self, model: str, *, timeout: float) -> list[VersionStatus]:
        """Return the state of each version of a model."""

    def close(self) -> None:
        """Close the connection."""


class AsyncTransport(Protocol):
    """What an awaiting client needs of a connection: `Transport` with coroutines.

    >>> class Log(AsyncGrpcTransport):
    ...     async def predict(self, model, signature, inputs, **options):
    ...         print(model, signature)
    ...         return await super().predict(model, signature, inputs, **options)
    """

    async def predict(
        self,
        model: str,
        signature: str,
        inputs: Arrays,
        *,
        outputs: Sequence[str] = (),
        version: int | None = None,
        timeout: float,
    ) -> Prediction:
        """See `Transport.predict`."""

    async def status(self, model: str, *, timeout: float) -> list[VersionStatus]:
        """See `Transport.status`."""

    async def close(self) -> None:
        """See `Transport.close`."""


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
        """Connect lazily to `address`: ``host:port``, ``unix:path``, or several ``host:port`` with commas.

        The first call opens the connection, to all addresses that the names stand for; calls go round those that
        answer. A connection that breaks is made again by itself.

        Args:
            address: where to connect.
            tls: secure the connection with it; None for plain text.
            token: bearer token, or a function that returns the one of the moment.
            metadata: sent with each call.
            compression: "none", "gzip" or "deflate" for requests.
        """
        self.address = address
        self._channel = open_channel(grpc, address, tls, compression)
        self._metadata = Metadata(token, metadata)
        self._methods = {name: self._channel.unary_unary(*method) for name, method in METHODS.items()}

    def predict(
        self,
        model: str,
        signature: str,
        inputs: Arrays,
        *,
        outputs: Sequence[str] = (),
        version: int | None = None,
        timeout: float,
    ) -> Prediction:
        """See `Transport.predict`."""
        request = predict_request(model, signature, inputs, outputs, version)
        return read_prediction(self._call("predict", request, timeout), self.address)

    def status(self, model: str, *, timeout: float) -> list[VersionStatus]:
        """See `Transport.status`."""
        return read_status(self._call("status", status_request(model), timeout))

    def _call(self, method: str, request: Any, timeout: float) -> Any:
        try:
            return self._methods[method](request, timeout=timeout, metadata=self._metadata())
        except grpc.RpcError as error:
            raise error_from_status(error.code(), error.details() or "", self.address) from error

    def close(self) -> None:
        """See `Transport.close`."""
        self._channel.close()


class AsyncGrpcTransport:
    """`GrpcTransport` for asyncio; it belongs to the event loop of its first call.

    >>> transport = AsyncGrpcTransport("localhost:8500")  # nothing is opened before the first call
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
        self.address = address
        self._open = functools.partial(open_channel, grpc.aio, address, tls, compression)
        self._metadata = Metadata(token, metadata)
        self._channel: Any = None

    async def predict(
        self,
        model: str,
        signature: str,
        inputs: Arrays,
        *,
        outputs: Sequence[str] = (),
        version: int | None = None,
        timeout: float,
    ) -> Prediction:
        """See `Transport.predict`."""
        request = predict_request(model, signature, inputs, outputs, version)
        return read_prediction(await self._call("predict", request, timeout), self.address)

    async def status(self, model: str, *, timeout: float) -> list[VersionStatus]:
        """See `Transport.status`."""
        return read_status(await self._call("status", status_request(model), timeout))

    async def _call(self, method: str, request: Any, timeout: float) -> Any:
        if self._channel is None:  # not before: a channel needs a running loop
            self._channel = self._open()
            self._methods = {name: self._channel.unary_unary(*each) for name, each in METHODS.items()}
        try:
            return await self._methods[method](request, timeout=timeout, metadata=self._metadata())
        except grpc.RpcError as error:
            raise error_from_status(error.code(), error.details() or "", self.address) from error

    async def close(self) -> None:
        """See `Transport.close`."""
        if self._channel is not None:
            await self._channel.close()
