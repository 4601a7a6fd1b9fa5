"""The way to a server: arrays in, arrays out. gRPC and protobuf stay behind it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import grpc

from bertbundle.contract.types import Arrays, Prediction, VersionStatus
from bertbundle.transports.cancellation import Cancel
from bertbundle.transports.channels import Line, Lines, Metadata, Tls, Token, check
from bertbundle.wire.messages import predict_request, read_prediction, read_status, status_request
from bertbundle.wire.status_errors import error_from_status

__all__ = ["AsyncGrpcTransport", "AsyncTransport", "GrpcTransport", "Transport"]


class Transport(Protocol):
    """What a client needs of a connection. Raises `ServerError` for whatever goes wrong.

    Of a client with `hedge_after`, a `predict` that takes `cancel` is given it; see `GrpcTransport.predict`.

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
        """Run a signature; `outputs` empty means all, `version` None the newest, `timeout` is in seconds.

        >>> row = np.ones([1, 4], np.int32)
        >>> inputs = {"input_ids": row, "attention_mask": row, "token_type_ids": row}
        >>> transport.predict("tiny", "length_4", inputs, outputs=["label_ids"], timeout=5).outputs["label_ids"].shape
        (1, 4)
        """

    def status(self, model: str, *, timeout: float) -> list[VersionStatus]:
        """Return the state of each version of a model.

        >>> [each.state for each in transport.status("tiny", timeout=5)]
        ['LOADING', 'AVAILABLE', 'END']
        """

    def close(self) -> None:
        """Close the connection.

        >>> GrpcTransport("localhost:8500").close()
        """


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
        """Connect lazily to `address`: ``host:port``, ``unix:path``, or several of them with commas.

        The first call opens the connection. Calls go round the addresses, and round the servers that a name stands
        for; where nobody is there, the next one is asked. A connection that breaks is made again by itself, and the
        name looked up again. An address that is given twice has two connections.

        Args:
            address: where to connect; IPv6 in brackets, ``[::1]:8500``.
            tls: secure the connection with it; None for plain text.
            token: bearer token, or a function that returns the one of the moment.
            metadata: sent with each call.
            compression: "none", "gzip" or "deflate" for requests.
        """
        self.address = address
        self._lines = Lines(grpc, address, tls, compression)
        self._metadata = Metadata(token, metadata)

    def predict(
        self,
        model: str,
        signature: str,
        inputs: Arrays,
        *,
        outputs: Sequence[str] = (),
        version: int | None = None,
        timeout: float,
        cancel: Cancel | None = None,
    ) -> Prediction:
        """See `Transport.predict`; calling `cancel` in another thread ends it."""
        request = predict_request(model, signature, inputs, outputs, version)
        return read_prediction(self._call("predict", request, timeout, cancel), self.address)

    def status(self, model: str, *, timeout: float) -> list[VersionStatus]:
        """See `Transport.status`."""
        return read_status(self._call("status", status_request(model), timeout))

    def _call(self, method: str, request: Any, timeout: float, cancel: Cancel | None = None) -> Any:
        with contextlib.closing(self._lines.attempts(timeout)) as attempts:
            answer = self._send(*next(attempts), method, request, cancel)
            while isinstance(answer, grpc.RpcError):
                answer = self._send(*attempts.send(answer), method, request, cancel)
            return answer

    def _send(self, line: Line, timeout: float, method: str, request: Any, cancel: Cancel | None) -> Any:
        """Return what the server answered, or the error."""
        send, metadata = line.methods[method], self._metadata()
        try:
            if cancel is None:
                return send(request, timeout=timeout, metadata=metadata)
            call = send.future(request, timeout=timeout, metadata=metadata)
            with cancel.watching(call.cancel):
                return call.result()
        except grpc.FutureCancelledError as error:
            raise error_from_status(grpc.StatusCode.CANCELLED, "cancelled here", line.address) from error
        except grpc.RpcError as error:
            return error

    def close(self) -> None:
        """See `Transport.close`."""
        for line in self._lines.lines:
            line.channel.close()


class AsyncGrpcTransport:
    """`GrpcTransport` for asyncio; it belongs to the event loop of its first call.

    >>> async def states():
    ...     transport = AsyncGrpcTransport(address)  # nothing is opened before the first call
    ...     found = await transport.status("tiny", timeout=5)
    ...     await transport.close()
    ...     return [each.state for each in found]
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
        check(address, compression)
        self.address = address
        self._open = functools.partial(Lines, grpc.aio, address, tls, compression)
        self._metadata = Metadata(token, metadata)
        self._lines: Lines | None = None

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
        if self._lines is None:  # not before: a channel needs a running loop
            self._lines = self._open()
        with contextlib.closing(self._lines.attempts(timeout)) as attempts:
            answer = await self._send(*next(attempts), method, request)
            while isinstance(answer, grpc.RpcError):
                answer = await self._send(*attempts.send(answer), method, request)
            return answer

    async def _send(self, line: Line, timeout: float, method: str, request: Any) -> Any:
        """Return what the server answered, or the error."""
        try:
            return await line.methods[method](request, timeout=timeout, metadata=self._metadata())
        except grpc.RpcError as error:
            return error

    async def close(self) -> None:
        """See `Transport.close`."""
        for line in self._lines.lines if self._lines else ():
            await line.channel.close()
