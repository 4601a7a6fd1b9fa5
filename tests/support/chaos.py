"""A TCP proxy that mistreats connections, as networks do."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Callable

LINGER_RESET = struct.pack("ii", 1, 0)  # close with a reset instead of an orderly end; source: socket(7), SO_LINGER


class ChaosProxy:
    """Forwards connections to `target`, each under a fate: what happens to the server's bytes.

    Attributes:
        fates: names of `FATES` that are drawn from; change it at any time.
        address: where it listens.
    """

    def __init__(self, target: str, *, seed: int = 0, fates: tuple[str, ...] = ("pass",)) -> None:
        self.fates = fates
        self._target = target
        self._random = random.Random(seed)  # noqa: S311 - repeatable chaos
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
        threading.Thread(target=self._pump, args=(client, server, lambda data: data), daemon=True).start()
        self._pump(server, client, self._mistreat(client))

    def _mistreat(self, client: socket.socket) -> Callable[[bytes], bytes]:
        """Return what is done to each piece of the server's bytes."""

        def treat(data: bytes) -> bytes:
            return FATES[self._random.choice(self.fates)](data, client)

        return treat

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket, treat: Callable[[bytes], bytes]) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(treat(data))
        except OSError:
            pass
        finally:
            for each in (source, sink):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()


def _reset(data: bytes, client: socket.socket) -> bytes:
    del data
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
    client.shutdown(socket.SHUT_RD)  # wakes the thread that reads: a socket that is being read is not closed
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
    """Swallow bytes: the stream is out of step from here on."""
    del data, client
    return b""


FATES: dict[str, Callable[[bytes, socket.socket], bytes]] = {
    "pass": lambda data, _: data,
    "reset": _reset,
    "truncate": _truncate,
    "delay": _delay,
    "drop": _drop,
}
"""What may happen to a piece of a server's bytes."""
