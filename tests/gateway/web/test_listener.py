"""The HTTP server binds its port."""

from __future__ import annotations

import asyncio
import socket

from bertbundle_gateway.web.listener import HttpListener
from optional import skip_without


def test_dual_stack() -> None:
    """A REST server on `::` accepts IPv4 connections, too, as gRPC does."""
    if not socket.has_dualstack_ipv6():
        skip_without("the IPv6 loopback address")
    listener = HttpListener("::", 0)
    socket.create_connection(("127.0.0.1", listener.port)).close()
    asyncio.run(listener.stop(0))


def test_responses_are_sent_at_once() -> None:
    """Accepted connections send the body of a response without waiting for the acknowledgement of its head."""
    listener = HttpListener("127.0.0.1", 0)
    with socket.create_connection(("127.0.0.1", listener.port)):
        accepted, _ = listener._socket.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    asyncio.run(listener.stop(0))
