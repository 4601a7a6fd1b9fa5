"""The HTTP server binds its port."""

from __future__ import annotations

import asyncio
import socket

import pytest

from bertbundle_serving.rest_api.listener import HttpListener


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_every_address() -> None:
    """REST on `::` is reached over IPv4, too, as gRPC is."""
    listener = HttpListener("::", 0)
    socket.create_connection(("127.0.0.1", listener.port)).close()
    asyncio.run(listener.stop(0))
