"""The gRPC channels to a server, or to each of several: how they are opened, secured and taken in turn."""

from __future__ import annotations

import json
import random
import re
import ssl
import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any, TypeAlias

import grpc

from bertbundle._shared.pem import check_certificates, load_cert_chain
from bertbundle._shared.validation import check_type
from bertbundle.errors import ServerUnavailable
from bertbundle.wire.messages import METHODS
from bertbundle.wire.status_errors import error_from_status

__all__ = ["Line", "Lines", "Metadata", "Tls", "Token", "check"]

Token: TypeAlias = "str | Callable[[], str]"  # noqa: S105 - a type
"""A bearer token, or a function that returns the one of the moment."""
_OPTIONS: tuple[tuple[str, int | str], ...] = (
    # No limit of our own on an answer's size: [32, 512] logits of a large vocabulary pass gRPC's default of 4 MB.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
    # A server may end a connection that pings more often than every 5 minutes (gRPC's default); with keepalive on,
    # Linux also gives up bytes that nobody acknowledges for the second time (TCP_USER_TIMEOUT, gRFC A18).
    ("grpc.keepalive_time_ms", 330_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # The defaults let a client wait up to 2 minutes before it looks for a restarted server again.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # A name is looked up again when one of its servers is gone; the default lets 30 seconds pass between two times.
    ("grpc.dns_min_time_between_resolutions_ms", 2_000),
)


@dataclass(frozen=True, slots=True)
class Tls:
    """How to secure a connection.

    Attributes:
        root_certificates: PEM bytes of the authorities to trust; None for gRPC's own list.
        private_key, certificate_chain: PEM bytes that identify the client (mTLS); both or none.
        server_name: name to check the server's certificate against, if it is not the address.

    >>> Tls(server_name="models.example.com").server_name
    'models.example.com'
    """

    root_certificates: bytes | None = None
    private_key: bytes | None = None
    certificate_chain: bytes | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.private_key is None) != (self.certificate_chain is None):
            raise ValueError("private_key and certificate_chain go together")
        if self.root_certificates is not None:
            check_certificates(self.root_certificates, "root_certificates")
        if self.private_key is not None and self.certificate_chain is not None:
            load_cert_chain(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), self.certificate_chain, self.private_key)


class Metadata:
    """What is sent with each call, as gRPC takes it."""

    def __init__(self, token: Token | None, metadata: Mapping[str, str] | None) -> None:
        """Check names and values once."""
        check_type("metadata", metadata, (Mapping, NoneType), "a mapping of names to values")
        if not callable(token):
            check_type("token", token, (str, NoneType), "a str, or a function that returns one")
        self._token = token
        self._fixed = tuple((name.lower(), value) for name, value in (metadata or {}).items())
        for name, value in self._fixed:
            check_type(f"metadata {name!r}", value, str, "a str")
            if not re.fullmatch(r"[0-9a-z_.-]+", name) or not re.fullmatch(r"[ -~]*", value):
                raise ValueError(f"metadata must be printable ASCII under names of a-z 0-9 _ . -, got {name!a}")

    def __call__(self) -> tuple[tuple[str, str], ...]:
        """Return names and values of the moment."""
        if self._token is None:
            return self._fixed
        token = self._token if isinstance(self._token, str) else self._token()
        return (*self._fixed, ("authorization", f"Bearer {token}"))


@dataclass(slots=True)
class Line:
    """A channel to one address, which may be a name of several servers.

    Attributes:
        address: where it leads.
        channel: gRPC's.
        methods: what makes a call, by the name in `METHODS`.
        waiting: number of calls that have no answer yet.
    """

    address: str
    channel: Any
    methods: Mapping[str, Any]
    waiting: int = 0


class Lines:
    """A channel to each address, taken in turn.

    Among the servers that one name stands for gRPC itself goes round; it looks the name up again when one is gone.
    """

    def __init__(self, kind: Any, address: str, tls: Tls | None, compression: str) -> None:
        """Open channels of `kind`, ``grpc`` or ``grpc.aio``; nothing is sent."""
        check_type("tls", tls, (Tls, NoneType), "a Tls, Tls() for gRPC's own list of authorities")
        addresses = check(address, compression)
        own = len(set(addresses)) < len(addresses)
        self.lines = [_line(kind, each, tls, _COMPRESSIONS[compression], own) for each in addresses]
        self._turns: list[Line] = []
        self._lock = threading.Lock()

    def attempts(self, timeout: float) -> Generator[tuple[Line, float], grpc.RpcError, None]:
        """Give the line to ask and the seconds that are left; is sent the error for which another one is to be asked.

        Close it when there is an answer.

        Raises:
            ServerError: the error, unless it is that nobody is there and there is another line.
        """
        end = time.monotonic() + timeout
        lines = self._in_order()
        for line in lines:
            self._count(line, 1)
            try:
                error = yield line, max(end - time.monotonic(), 0.0)
            finally:
                self._count(line, -1)
            problem = error_from_status(error.code(), error.details() or "", line.address)
            if line is lines[-1] or not isinstance(problem, ServerUnavailable):
                raise problem from error

    def _in_order(self) -> list[Line]:
        """Return first the line with the fewest calls, of equals the one whose turn it is.

        Each round has a random order of its own, so that a call and its hedge do not fall into step.
        """
        with self._lock:
            self._turns = self._turns or random.sample(self.lines, len(self.lines))
            turn = self._turns.pop()
            return sorted(self.lines, key=lambda line: (line.waiting, line is not turn))

    def _count(self, line: Line, change: int) -> None:
        with self._lock:
            line.waiting += change


_ADDRESS = re.compile(
    r"(unix|unix-abstract|vsock|dns|xds):.+"
    r"|([^\s:/;\[\]]+|\[[0-9A-Fa-f:.]+(%[\w.-]+)?\]):(?P<port>\d{1,5})"
)
"""gRPC itself takes ::1:8500 for a host, and 99999 for the port 34463."""


def check(address: str, compression: str) -> list[str]:
    """Return the addresses of a list.

    Raises:
        TypeError: no str.
        ValueError: one that has no port, or a compression that there is not.
    """
    check_type("server", address, str, "a str, several addresses with commas")
    if compression not in _COMPRESSIONS:
        raise ValueError(f"compression must be one of {', '.join(_COMPRESSIONS)}, got {compression!r}")
    if address.startswith(("ipv4:", "ipv6:")):  # gRPC's own lists
        return [address]
    found = [each.strip() for each in address.split(",")]
    wrong = [each for each in found if not _is_address(each)]
    if wrong:
        raise ValueError(
            f"expected host:port of a gRPC server, got {wrong[0]!r}; IPv6 is [::1]:8500, over HTTP use RestTransport"
        )
    return found


def _is_address(text: str) -> bool:
    found = _ADDRESS.fullmatch(text)
    return found is not None and 0 < int(found["port"] or 1) < 2**16


def _line(kind: Any, address: str, tls: Tls | None, compression: grpc.Compression, own: bool) -> Line:
    options: list[tuple[str, int | str]] = [*_OPTIONS, ("grpc.use_local_subchannel_pool", int(own))]
    if tls is None:
        channel = kind.insecure_channel(address, options=options, compression=compression)
    else:
        if tls.server_name:
            options.append(("grpc.ssl_target_name_override", tls.server_name))
        credentials = grpc.ssl_channel_credentials(tls.root_certificates, tls.private_key, tls.certificate_chain)
        channel = kind.secure_channel(address, credentials, options=options, compression=compression)
    return Line(address, channel, {name: channel.unary_unary(*method) for name, method in METHODS.items()})


_COMPRESSIONS = {
    "none": grpc.Compression.NoCompression,
    "gzip": grpc.Compression.Gzip,
    "deflate": grpc.Compression.Deflate,
}
