"""A TCP proxy that injects network faults into connections."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Callable

LINGER_RESET = struct.pack(
    "ii", 1, 0
)  # close with a reset instead of an orderly shutdown; source: socket(7), SO_LINGER


class ChaosProxy:
    """Forwards connections to `target`, with a random fault for each chunk of the server's bytes.

    Attributes:
        faults: names of `FAULTS` to choose from, repeated to change their probability; may be changed at any time.
        address: where the proxy listens.
    """

    def __init__(self, target: str, *, seed: int = 0, faults: tuple[str, ...] = ("pass",)) -> None:
        self.faults = faults
        self._target = target
        self._random = random.Random(seed)  # noqa: S311 - repeatable
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._open = True
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._open = False
        self._listener.close()

    def _accept(self) -> None:
        while self._open:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        host, _, port = self._target.rpartition(":")
        try:
            server = socket.create_connection((host, int(port)))
        except OSError:
            client.close()
            return
        threading.Thread(target=self._forward, args=(client, server, lambda data: data), daemon=True).start()
        self._forward(server, client, self._inject_faults(client))

    def _inject_faults(self, client: socket.socket) -> Callable[[bytes], bytes]:
        """Return a function that applies a random fault to a chunk of the server's bytes."""

        def inject(data: bytes) -> bytes:
            return FAULTS[self._random.choice(self.faults)](data, client)

        return inject

    @staticmethod
    def _forward(source: socket.socket, sink: socket.socket, change: Callable[[bytes], bytes]) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(change(data))
        except OSError:
            pass
        finally:
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()


def _reset(data: bytes, client: socket.socket) -> bytes:
    del data
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
    client.shutdown(socket.SHUT_RD)  # wakes the thread that reads: close() does not reset a socket that is being read
    client.close()
    raise OSError


def _truncate(data: bytes, client: socket.socket) -> bytes:
    client.sendall(data[: len(data) // 2])
    client.shutdown(socket.SHUT_RDWR)
    client.close()
    raise OSError


def _delay(data: bytes, client: socket.socket) -> bytes:
    del client
    time.sleep(0.05)
    return data


def _drop(data: bytes, client: socket.socket) -> bytes:
    """Drop the bytes, which corrupts the rest of the stream."""
    del data, client
    return b""


FAULTS: dict[str, Callable[[bytes, socket.socket], bytes]] = {
    "pass": lambda data, _: data,
    "reset": _reset,
    "truncate": _truncate,
    "delay": _delay,
    "drop": _drop,
}
"""The faults by name; "pass" forwards the bytes unchanged."""
