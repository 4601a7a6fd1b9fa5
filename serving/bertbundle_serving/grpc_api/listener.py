"""Take gRPC's port and Unix socket, and say why where that fails: gRPC itself does not."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Any

from bertbundle_serving.errors import ServeError

__all__ = ["take_port", "take_socket"]


def take_port(server: Any, host: str, port: int, address: str, credentials: Any | None) -> int:
    """Make a gRPC server listen at ``address``, which is the host and the port, and return the port.

    Raises:
        ServeError: it cannot, and why.
    """
    try:
        if credentials is None:
            return int(server.add_insecure_port(address))
        return int(server.add_secure_port(address, credentials))
    except RuntimeError as error:
        raise ServeError(
            f"cannot listen on {address}: {_reason(host, port)}. Stop what uses it, or give another --port (0 picks a "
            "free one) or --host."
        ) from error


def take_socket(server: Any, path: str) -> None:
    """Make a gRPC server listen on a Unix socket. One that a server left behind when it was killed is replaced.

    Raises:
        ServeError: it cannot, and why; or another server listens there.
    """
    taken = _taken(path)
    if taken is None:
        try:
            server.add_insecure_port(f"unix:{path}")
        except RuntimeError:
            taken = _unbound(socket.AF_UNIX, path) or "gRPC does not say why"
    if taken is not None:
        raise ServeError(f"cannot listen on --grpc_socket_path {path}: {taken}. Give another path.")


def _reason(host: str, port: int) -> str:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:  # a name nobody knows
        return error.strerror or str(error)
    reasons = [_unbound(family, place) for family, _, _, _, place in found]
    return next((reason for reason in reasons if reason), "gRPC does not say why")


def _taken(path: str) -> str | None:
    # gRPC removes a socket that is there, even one that a server listens on.
    try:
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(path)
    except ConnectionRefusedError:
        return None if stat.S_ISSOCK(Path(path).stat().st_mode) else "a file that is no socket is there"
    except OSError:
        return None  # nothing is there, or binding fails, too
    return "another server listens there"


def _unbound(family: int, place: Any) -> str | None:
    try:
        with socket.socket(family) as taken:
            taken.bind(place)
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)
    return None
