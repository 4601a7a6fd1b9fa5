"""Bind gRPC's port and Unix socket. gRPC does not say why it cannot bind, so this module finds the reason."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Any

from bertbundle_serving.errors import ServeError

__all__ = ["bind_port", "bind_socket"]

_UNKNOWN_REASON = "gRPC does not say why"


def bind_port(server: Any, host: str, port: int, address: str, credentials: Any | None) -> int:
    """Make a gRPC server listen on a port, with TLS if there are credentials, and return the port.

    Args:
        server: the gRPC server.
        host: host name or address.
        port: the port; 0 picks a free one.
        address: host and port in gRPC's notation.
        credentials: TLS credentials, or None.

    Raises:
        ServeError: the port cannot be bound; the message says why.
    """
    try:
        if credentials is None:
            return int(server.add_insecure_port(address))
        return int(server.add_secure_port(address, credentials))
    except RuntimeError as error:
        raise ServeError(
            f"cannot listen on {address}: {_find_reason(host, port)}. Stop the process that uses it, or choose another "
            "--port (0 picks a free one) or --host."
        ) from error


def bind_socket(server: Any, path: str) -> None:
    """Make a gRPC server listen on a Unix socket. The socket file that a killed server left behind is replaced.

    Raises:
        ServeError: the socket cannot be bound, or another server listens on it; the message says why.
    """
    reason = _find_conflict(path)
    if reason is None:
        try:
            server.add_insecure_port(f"unix:{path}")
        except RuntimeError:
            reason = _try_to_bind(socket.AF_UNIX, path) or _UNKNOWN_REASON
    if reason is not None:
        raise ServeError(f"cannot listen on --grpc_socket_path {path}: {reason}. Choose another path.")


def _find_reason(host: str, port: int) -> str:
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:  # an unknown host name
        return error.strerror or str(error)
    reasons = [_try_to_bind(family, address) for family, _, _, _, address in addresses]
    return next((reason for reason in reasons if reason), _UNKNOWN_REASON)


def _find_conflict(path: str) -> str | None:
    """Return why the path must not be used, or None. gRPC would remove any socket, even that of a running server."""
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
    except ConnectionRefusedError:
        return None if stat.S_ISSOCK(Path(path).stat().st_mode) else "the path is a file that is not a socket"
    except OSError:
        return None  # the path does not exist, or binding will fail and give the reason
    return "another server listens on it"


def _try_to_bind(family: int, address: Any) -> str | None:
    try:
        with socket.socket(family) as probe:
            probe.bind(address)
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)
    return None
