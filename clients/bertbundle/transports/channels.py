"""Open gRPC channels: addresses, options, TLS and compression."""

from __future__ import annotations

import json
import re
from types import NoneType
from typing import Any

import grpc

from bertbundle._shared.validation import check_type
from bertbundle.transports.credentials import Tls

__all__ = ["check_connection", "open_channels"]

_ROUND_ROBIN: list[dict[str, Any]] = [{"round_robin": {}}]
# A server behind a name that hangs or fails is not called for some seconds; source: gRFC A50. A third of the servers at
# most, or one of two: when all of them are overloaded, the others would get their calls, too. See docs/decisions/0079.
_OUTLIER_DETECTION: dict[str, Any] = {
    "interval": "1s",
    "baseEjectionTime": "2s",
    "maxEjectionTime": "8s",
    "maxEjectionPercent": 33,
    "failurePercentageEjection": {
        "threshold": 70,
        "enforcementPercentage": 100,
        "minimumHosts": 2,
        "requestVolume": 2,
    },
    "childPolicy": _ROUND_ROBIN,
}
_BALANCING = [{"outlier_detection_experimental": _OUTLIER_DETECTION}, *_ROUND_ROBIN]

_OPTIONS: tuple[tuple[str, int | str], ...] = (
    # No size limit for responses: logits of 32 rows, 512 tokens and many labels exceed gRPC's default of 4 MB.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.service_config", json.dumps({"loadBalancingConfig": _BALANCING})),
    # A server may close a connection that pings more often than every 5 minutes (gRPC's default). With keepalive, Linux
    # also closes a connection if sent bytes are not acknowledged within the timeout (TCP_USER_TIMEOUT, gRFC A18).
    ("grpc.keepalive_time_ms", 330_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # With the defaults, a client may wait for 2 minutes before it connects to a restarted server again.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # A name is resolved again when a connection closes; by default at most every 30 seconds.
    ("grpc.dns_min_time_between_resolutions_ms", 2_000),
)

_ADDRESS = re.compile(
    r"(unix|unix-abstract|vsock|dns|xds):.+"
    r"|([^\s:/;\[\]]+|\[[0-9A-Fa-f:.]+(%[\w.-]+)?\]):(?P<port>\d{1,5})"
)
"""Stricter than gRPC, which reads ::1:8500 as a host and 99999 as port 34463."""


def check_connection(address: str, compression: str) -> list[str]:
    """Check the address and the compression of a connection, and return the list of addresses.

    Raises:
        TypeError: the address is not a str.
        ValueError: an address has no port, or the compression is not supported.
    """
    check_type("server", address, str, "a str (several addresses are separated by commas)")
    if compression not in _COMPRESSIONS:
        raise ValueError(f"compression must be one of {', '.join(_COMPRESSIONS)}, got {compression!r}")
    if address.startswith(("ipv4:", "ipv6:")):  # lists of addresses in gRPC's own syntax
        return [address]
    addresses = [part.strip() for part in address.split(",")]
    wrong = [part for part in addresses if not _is_address(part)]
    if wrong:
        raise ValueError(
            f"expected host:port of a gRPC server, got {wrong[0]!r}. IPv6 needs brackets, [::1]:8500; HTTP is for "
            "Python only, with RestTransport"
        )
    return addresses


def _is_address(text: str) -> bool:
    match = _ADDRESS.fullmatch(text)
    return match is not None and 0 < int(match["port"] or 1) < 2**16


def open_channels(api: Any, address: str, tls: Tls | None, compression: str) -> list[tuple[str, Any]]:
    """Create a channel for each address; channels connect on the first call.

    Args:
        api: ``grpc`` or ``grpc.aio``.
        address: ``host:port``, ``unix:path``, or several of them separated by commas.
        tls: TLS settings; None for plain text.
        compression: "none", "gzip" or "deflate".

    Returns:
        Each address with its channel.
    """
    check_type("tls", tls, (Tls, NoneType), "a Tls object (Tls() for gRPC's default authorities)")
    addresses = check_connection(address, compression)
    # Channels to the same address get a connection each: by default gRPC would share one between them.
    options: list[tuple[str, int | str]] = [
        *_OPTIONS,
        ("grpc.use_local_subchannel_pool", int(len(set(addresses)) < len(addresses))),
    ]
    settings: dict[str, Any] = {"options": options, "compression": _COMPRESSIONS[compression]}
    if tls is None:
        return [(target, api.insecure_channel(target, **settings)) for target in addresses]
    if tls.server_name:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    credentials = grpc.ssl_channel_credentials(tls.root_certificates, tls.private_key, tls.certificate_chain)
    return [(target, api.secure_channel(target, credentials, **settings)) for target in addresses]


_COMPRESSIONS = {
    "none": grpc.Compression.NoCompression,
    "gzip": grpc.Compression.Gzip,
    "deflate": grpc.Compression.Deflate,
}
