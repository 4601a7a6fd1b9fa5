"""The HTTP server binds its port."""

from __future__ import annotations

import asyncio
import socket

from bertbundle_serving.rest_api.listener import HttpListener
from optional import skip_without


def test_dual_stack() -> None:
    """A REST server on `::` accepts IPv4 connections, too, as gRPC does."""
    if not socket.has_dualstack_ipv6():
        skip_without("the IPv6 loopback address")
    listener = HttpListener("::", 0)
    socket.create_connection(("127.0.0.1", listener.port)).close()
    asyncio.run(listener.stop(0))
