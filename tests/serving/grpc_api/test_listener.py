"""Ports and sockets that cannot be had are refused with the reason."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from bertbundle_serving.errors import ServeError
from bertbundle_serving.grpc_api.listener import take_port, take_socket
from bertbundle_serving.rest_api.listener import WebListener
from optional import skip_without


class Refuses:
    """A gRPC server that gets no port; gRPC does not say why."""

    def add_insecure_port(self, address: str) -> int:
        """Fail as gRPC does."""
        raise RuntimeError(f"Failed to bind to address {address}")


class Listens:
    """A gRPC server that gets what it asks for."""

    def __init__(self) -> None:
        self.addresses: list[str] = []

    def add_insecure_port(self, address: str) -> int:
        """Note the address."""
        self.addresses.append(address)
        return 1


def test_taken_port_is_said() -> None:
    """A port in use is told from an address that is not this machine's, and from a name nobody knows."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "Address already in use. Stop what uses it" in refused("127.0.0.1", port)
    assert "Cannot assign requested address" in refused("203.0.113.1", 0)  # RFC 5737: nobody's
    assert "cannot listen on [::1]:0" in refused("[::1]", 0)


def refused(host: str, port: int) -> str:
    """Return why the port is refused."""
    with pytest.raises(ServeError) as caught:
        take_port(Refuses(), host, port, f"{host}:{port}", None)
    return str(caught.value)


def test_every_address() -> None:
    """REST on `::` is reached over IPv4, too, as gRPC is."""
    if not socket.has_dualstack_ipv6():
        skip_without("the IPv6 loopback address")
    listener = WebListener("::", 0)
    socket.create_connection(("127.0.0.1", listener.port)).close()
    asyncio.run(listener.stop(0))


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        pytest.param("x" * 200, "AF_UNIX path too long", id="long"),
        pytest.param("absent/socket", "No such file or directory", id="no-directory"),
        pytest.param("file", "a file that is no socket is there", id="file"),
        pytest.param("live", "another server listens there", id="live"),
    ],
)
def test_socket_that_cannot_be_had(tmp_path: Path, path: str, reason: str) -> None:
    """A Unix socket that cannot be made is refused with the reason; what is there stays there."""
    (tmp_path / "file").write_text("precious")
    server: Any = Listens() if path in ("file", "live") else Refuses()
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(tmp_path / "live"))
        live.listen()
        with pytest.raises(ServeError, match=reason):
            take_socket(server, str(tmp_path / path))


def test_socket_left_behind_is_replaced(tmp_path: Path) -> None:
    """A socket on which nobody listens any more is no hindrance."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "socket"))
    server = Listens()
    take_socket(server, str(tmp_path / "socket"))
    assert server.addresses == [f"unix:{tmp_path / 'socket'}"]
