"""Opening gRPC channels: addresses, options, TLS and compression."""

from __future__ import annotations

import json
import re
from types import NoneType
from typing import Any

import grpc

from bertbundle._shared.validation import check_type
from bertbundle.transports.credentials import Tls

__all__ = ["check_connection", "open_channels"]

_OPTIONS: tuple[tuple[str, int | str], ...] = (
    # No size limit for answers: [32, 512] logits of a large vocabulary exceed gRPC's default of 4 MB.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
    # A server may close a connection that pings more often than every 5 minutes (gRPC's default). With keepalive on,
    # Linux also closes a connection whose bytes are not acknowledged in that time (TCP_USER_TIMEOUT, gRFC A18).
    ("grpc.keepalive_time_ms", 330_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # With the defaults a client may wait up to 2 minutes before it connects to a restarted server again.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # A name is resolved again when one of its servers is gone; by default at most every 30 seconds.
    ("grpc.dns_min_time_between_resolutions_ms", 2_000),
)

_ADDRESS = re.compile(
    r"(unix|unix-abstract|vsock|dns|xds):.+"
    r"|([^\s:/;\[\]]+|\[[0-9A-Fa-f:.]+(%[\w.-]+)?\]):(?P<port>\d{1,5})"
)
"""gRPC itself accepts ::1:8500 as a host, and 99999 as the port 34463."""


def check_connection(address: str, compression: str) -> list[str]:
    """Check what a client is to connect to, and return its addresses.

    Raises:
        TypeError: the address is not a str.
        ValueError: an address has no port, or the compression is not supported.
    """
    check_type("server", address, str, "a str, several addresses with commas")
    if compression not in _COMPRESSIONS:
        raise ValueError(f"compression must be one of {', '.join(_COMPRESSIONS)}, got {compression!r}")
    if address.startswith(("ipv4:", "ipv6:")):  # gRPC's own lists
        return [address]
    addresses = [part.strip() for part in address.split(",")]
    wrong = [part for part in addresses if not _is_address(part)]
    if wrong:
        raise ValueError(
            f"expected host:port of a gRPC server, got {wrong[0]!r}; IPv6 is [::1]:8500, over HTTP use RestTransport"
        )
    return addresses


def _is_address(text: str) -> bool:
    match = _ADDRESS.fullmatch(text)
    return match is not None and 0 < int(match["port"] or 1) < 2**16


def open_channels(api: Any, address: str, tls: Tls | None, compression: str) -> list[tuple[str, Any]]:
    """Open a channel to each address; nothing is sent.

    Args:
        api: ``grpc`` or ``grpc.aio``.
        address: ``host:port``, ``unix:path``, or several of them with commas.
        tls: how to secure the channels; None for plain text.
        compression: "none", "gzip" or "deflate".

    Returns:
        Addresses and channels.
    """
    check_type("tls", tls, (Tls, NoneType), "a Tls, Tls() for gRPC's own list of authorities")
    addresses = check_connection(address, compression)
    # An address that is given twice has two connections: otherwise gRPC would share one between the channels.
    options: list[tuple[str, int | str]] = [
        *_OPTIONS,
        ("grpc.use_local_subchannel_pool", int(len(set(addresses)) < len(addresses))),
    ]
    settings: dict[str, Any] = {"options": options, "compression": _COMPRESSIONS[compression]}
    if tls is None:
        return [(each, api.insecure_channel(each, **settings)) for each in addresses]
    if tls.server_name:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    credentials = grpc.ssl_channel_credentials(tls.root_certificates, tls.private_key, tls.certificate_chain)
    return [(each, api.secure_channel(each, credentials, **settings)) for each in addresses]


_COMPRESSIONS = {
    "none": grpc.Compression.NoCompression,
    "gzip": grpc.Compression.Gzip,
    "deflate": grpc.Compression.Deflate,
}
