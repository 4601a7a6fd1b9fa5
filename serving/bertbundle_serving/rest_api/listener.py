"""The HTTP listener: an ASGI application on a port, in the server's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn

from bertbundle_serving.errors import ServeError

__all__ = ["WebListener"]

_MOST_CONNECTIONS = 4096
_KEEP_ALIVE_SECONDS = 60


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the server as a whole."""
        yield


class WebListener:
    """Takes a port at once, answers after `start`."""

    def __init__(self, host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            # As gRPC does: `::` is every address of either family.
            both = host == "::" and socket.has_dualstack_ipv6()
            self._socket = socket.create_server((host, port), family=family, backlog=1024, dualstack_ipv6=both)
        except OSError as error:
            raise ServeError(
                f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}. Stop what uses the port, or give "
                "another --rest_api_port (0 means none) or --host."
            ) from error
        self.port = int(self._socket.getsockname()[1])
        self._server: _Uvicorn | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self, application: Any) -> None:
        """Answer requests."""
        config = uvicorn.Config(
            application,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            limit_concurrency=_MOST_CONNECTIONS,
        )
        self._server = _Uvicorn(config)
        self._serving = asyncio.ensure_future(self._server.serve([self._socket]))
        while not self._server.started and not self._serving.done():
            await asyncio.sleep(0.005)

    async def stop(self, grace: float) -> None:
        """Take no more connections, wait up to `grace` seconds for what is in flight."""
        if self._server is None or self._serving is None:
            self._socket.close()
            return
        self._server.config.timeout_graceful_shutdown = max(1, round(grace))
        self._server.should_exit = True
        await self._serving
