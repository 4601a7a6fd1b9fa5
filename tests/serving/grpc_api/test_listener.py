"""The gRPC server binds its port and socket, or says why it cannot."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import grpc
import pytest

from bertbundle.wire import _wire_pb2 as wire
from bertbundle_serving.errors import ServeError
from bertbundle_serving.grpc_api.listener import bind_port, bind_socket
from embedded_server import PREDICT, Serve
from tiny_bundles import TinyBundles, predict_request
from waiting import SECONDS


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
        assert "Address already in use. Stop the process that uses it" in refused("127.0.0.1", port)
    assert "Cannot assign requested address" in refused("203.0.113.1", 0)  # RFC 5737: nobody's
    assert "cannot listen on [::1]:0" in refused("[::1]", 0)


def refused(host: str, port: int) -> str:
    """Return why the port is refused."""
    with pytest.raises(ServeError) as caught:
        bind_port(Refuses(), host, port, f"{host}:{port}", None)
    return str(caught.value)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        pytest.param("x" * 200, "AF_UNIX path too long", id="long"),
        pytest.param("absent/socket", "No such file or directory", id="no-directory"),
        pytest.param("file", "the path is a file that is not a socket", id="file"),
        pytest.param("live", "another server listens on it", id="live"),
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
            bind_socket(server, str(tmp_path / path))


def test_socket_left_behind_is_replaced(tmp_path: Path) -> None:
    """A socket on which nobody listens any more is no hindrance."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "socket"))
    server = Listens()
    bind_socket(server, str(tmp_path / "socket"))
    assert server.addresses == [f"unix:{tmp_path / 'socket'}"]


def test_unix_socket(bundles: TinyBundles, serve: Serve, tmp_path: Path) -> None:
    """The server answers on a Unix socket, too."""
    bundles.write(1)
    path = tmp_path / "s.sock"
    serve(bundles.base, socket_path=str(path))
    with grpc.insecure_channel(f"unix:{path}") as channel:
        data = channel.unary_unary(PREDICT)(predict_request(bundles.features()).SerializeToString(), timeout=SECONDS)
    assert wire.PredictResponse.FromString(data).model_spec.version.value == 1
