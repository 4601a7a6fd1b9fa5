"""A name server of one name, whose addresses a test changes."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

_A = 1
"""Type of the record of an IPv4 address; source: RFC 1035, section 3.2.2."""
_ANSWER = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHHIH4s")
_NAME = 0xC00C  # a pointer to the question's; source: RFC 1035, section 4.1.4


class FakeDns:
    """Answers every question for IPv4 addresses with the same ones, and others with none.

    Attributes:
        addresses: what it answers; change it at any time.
        asked: number of questions for IPv4 addresses so far.
    """

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    def target(self, port: int) -> str:
        """Return gRPC's name for a port of the servers it knows."""
        return f"dns://127.0.0.1:{self._socket.getsockname()[1]}/replicas.test:{port}"

    def close(self) -> None:
        """Stop answering."""
        self._socket.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                question, sender = self._socket.recvfrom(512)
                self._socket.sendto(self._answer(question), sender)

    def _answer(self, message: bytes) -> bytes:
        """Return the answer; the format is that of RFC 1035, section 4.1."""
        head = _ANSWER.size
        end = message.index(b"\0", head) + 5  # the name, its type and class
        question = message[head:end]
        (kind,) = struct.unpack_from("!H", message, end - 4)
        found = self.addresses if kind == _A else ()
        self.asked += kind == _A
        records = [_RECORD.pack(_NAME, _A, 1, 0, 4, socket.inet_aton(each)) for each in found]
        (number,) = struct.unpack_from("!H", message)
        return _ANSWER.pack(number, 0x8180, 1, len(records), 0, 0) + question + b"".join(records)
