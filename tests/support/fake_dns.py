"""A DNS server for one name, whose addresses a test can change."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

_A = 1
"""Record type of IPv4 addresses; source: RFC 1035, section 3.2.2."""
_HEADER = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHHIH4s")
_NAME = 0xC00C  # a pointer to the name in the question; source: RFC 1035, section 4.1.4


class FakeDns:
    """Answers every query for IPv4 addresses with the same addresses, and other queries with none.

    Attributes:
        addresses: the addresses; may be changed at any time.
        port: its UDP port on 127.0.0.1.
    """

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def target(self, port: int) -> str:
        """Return a gRPC target that resolves the name with this server, for the given port."""
        return f"dns://127.0.0.1:{self.port}/replicas.test:{port}"

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                query, sender = self._socket.recvfrom(512)
                self._socket.sendto(self._response(query), sender)

    def _response(self, query: bytes) -> bytes:
        """Return the response to a query; source of the format: RFC 1035, section 4.1."""
        end = query.index(b"\0", _HEADER.size) + 5  # the question: name, type and class
        question = query[_HEADER.size : end]
        (record_type,) = struct.unpack_from("!H", query, end - 4)
        addresses = self.addresses if record_type == _A else ()
        records = [_RECORD.pack(_NAME, _A, 1, 0, 4, socket.inet_aton(address)) for address in addresses]
        (identifier,) = struct.unpack_from("!H", query)
        return _HEADER.pack(identifier, 0x8180, 1, len(records), 0, 0) + question + b"".join(records)
