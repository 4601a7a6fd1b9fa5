"""The gRPC server binds its port and socket, or reports why it cannot."""

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


class FailingServer:
    """A gRPC server that cannot bind a port; as in gRPC, the error does not say why."""

    def add_insecure_port(self, address: str) -> int:
        """Fail as gRPC does."""
        raise RuntimeError(f"Failed to bind to address {address}")


class RecordingServer:
    """A gRPC server that binds every address, and records it."""

    def __init__(self) -> None:
        self.addresses: list[str] = []

    def add_insecure_port(self, address: str) -> int:
        """Record the address."""
        self.addresses.append(address)
        return 1


def test_port_that_cannot_be_bound() -> None:
    """The message says whether the port is in use or the address is not one of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "Address already in use. Stop the process that uses it" in bind_error("127.0.0.1", port)
    assert "Cannot assign requested address" in bind_error("203.0.113.1", 0)  # RFC 5737: reserved for documentation
    assert "cannot listen on [::1]:0" in bind_error("[::1]", 0)


def bind_error(host: str, port: int) -> str:
    """Return the message of the error that binding a port raises."""
    with pytest.raises(ServeError) as caught:
        bind_port(FailingServer(), host, port, f"{host}:{port}", None)
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
def test_socket_that_cannot_be_bound(tmp_path: Path, path: str, reason: str) -> None:
    """The message says why a Unix socket cannot be bound; an existing file or a live socket is not replaced."""
    (tmp_path / "file").write_text("precious")
    server: Any = RecordingServer() if path in ("file", "live") else FailingServer()
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(tmp_path / "live"))
        live.listen()
        with pytest.raises(ServeError, match=reason):
            bind_socket(server, str(tmp_path / path))


def test_stale_socket_is_replaced(tmp_path: Path) -> None:
    """A socket file whose server is gone does not prevent binding."""
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "socket"))
    server = RecordingServer()
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
