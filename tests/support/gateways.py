"""Gateways in this process, in front of fake or real servers, and the service behind them without any server."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import grpc

from bertbundle import AsyncTransport
from bertbundle.text.v1 import text_service_pb2 as pb
from bertbundle_gateway.core.limits import Limits
from bertbundle_gateway.core.models import ClientSettings, Models
from bertbundle_gateway.core.servers import Servers
from bertbundle_gateway.core.service import TextService
from bertbundle_gateway.options import GatewayOptions
from bertbundle_gateway.server import Gateway
from waiting import SECONDS

__all__ = ["MODEL", "FakeBackend", "RunningGateway", "make_service", "running_gateway"]

MODEL = pb.ModelSelector(name="tiny")


class FakeBackend:
    """A `Backend` with the model ``tiny``.

    Attributes:
        closed: whether `close` was called.
    """

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport
        self.closed = False

    def transport(self, model: str, *, batches: bool = True) -> AsyncTransport | None:  # noqa: ARG002
        """Return the transport to the model ``tiny``."""
        return self._transport if model == "tiny" else None

    def names(self) -> Sequence[str]:
        """Return the name of the model."""
        return ["tiny"]

    async def close(self) -> None:
        """Record the call."""
        self.closed = True


def make_service(transport: AsyncTransport, limits: Limits = Limits(), **options: Any) -> TextService:  # noqa: B008
    """Return a service of the model ``tiny`` over a transport."""
    return TextService(Models(FakeBackend(transport), ClientSettings()), limits, **options)


class RunningGateway:
    """A gateway with an event loop in a thread of its own.

    Attributes:
        gateway: the gateway.
        channel: a channel to it without TLS.
    """

    def __init__(self, options: GatewayOptions) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        try:
            self.gateway: Gateway = self._run(self._start(options))
        except BaseException:
            self._end()
            raise
        self.address = f"127.0.0.1:{self.gateway.port}"
        self.channel = grpc.insecure_channel(self.address)

    def stop(self) -> None:
        """Stop the gateway and the event loop."""
        self.channel.close()
        self._run(self.gateway.stop(1.0))
        self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(SECONDS)

    @staticmethod
    async def _start(options: GatewayOptions) -> Gateway:
        gateway = Gateway(options)
        await gateway.start()
        return gateway


@contextlib.contextmanager
def running_gateway(server: str | None, models: dict[str, str | None] | None = None, **options: Any) -> Iterator[Any]:
    """Run a gateway within the context, in front of the address of a server."""
    running = RunningGateway(GatewayOptions(**{"servers": Servers(server, models or {}), "port": 0, **options}))
    try:
        yield running
    finally:
        running.stop()
