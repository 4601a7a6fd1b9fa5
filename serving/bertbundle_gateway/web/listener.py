"""Serve an ASGI application over HTTP or HTTPS, in the event loop of the server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import uvicorn

from bertbundle import InputError

__all__ = ["HttpListener"]

_MAX_CONNECTIONS = 4096
_KEEP_ALIVE_SECONDS = 60


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing: the server handles signals itself."""
        yield


class HttpListener:
    """Binds a port when it is created, and answers requests after `start`.

    Attributes:
        port: the port.
    """

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        """Bind a port.

        Args:
            host: the address to listen on.
            port: the port; 0 picks a free one.
            tls: the context of HTTPS; None for HTTP.

        Raises:
            InputError: the port is in use.
        """
        self._tls = tls
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            # As in gRPC, `::` includes all IPv4 addresses.
            dual_stack = host == "::" and socket.has_dualstack_ipv6()
            self._socket = socket.create_server((host, port), family=family, backlog=1024, dualstack_ipv6=dual_stack)
        except OSError as error:
            raise InputError(
                f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}. Stop the process that uses it, or "
                "choose another --rest_api_port (0 disables REST) or --host."
            ) from error
        # Connections inherit it. Without it the body of a response waits 40 ms for the acknowledgement of its head, if
        # the connection stays open.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port = int(self._socket.getsockname()[1])
        self._server: _Uvicorn | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self, application: Any) -> None:
        """Start answering requests."""
        config = uvicorn.Config(
            application,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            limit_concurrency=_MAX_CONNECTIONS,
        )
        config.load()
        config.ssl = self._tls
        self._server = _Uvicorn(config)
        self._serving = asyncio.ensure_future(self._server.serve([self._socket]))
        while not self._server.started and not self._serving.done():
            await asyncio.sleep(0.005)

    async def stop(self, grace: float) -> None:
        """Refuse new connections, and wait up to `grace` seconds for in-flight requests."""
        if self._server is None or self._serving is None:
            self._socket.close()
            return
        self._server.config.timeout_graceful_shutdown = max(1, round(grace))
        self._server.should_exit = True
        await self._serving
