"""How a connection is secured and authenticated: TLS, bearer tokens, metadata."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import TypeAlias

from bertbundle._shared.pem import check_certificates, load_cert_chain
from bertbundle._shared.validation import check_type

__all__ = ["Metadata", "Tls", "Token", "call_metadata"]

Token: TypeAlias = "str | Callable[[], str]"  # noqa: S105 - a type
"""A bearer token, or a callable that returns the current token."""
Metadata: TypeAlias = tuple[tuple[str, str], ...]
"""Names and values that are sent with a call, as gRPC takes them."""


@dataclass(frozen=True, slots=True)
class Tls:
    """How to secure a connection.

    Attributes:
        root_certificates: PEM bytes of the authorities to trust; None for gRPC's default list.
        private_key, certificate_chain: PEM bytes that identify the client (mTLS); both or neither.
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


def call_metadata(token: Token | None, metadata: Mapping[str, str] | None) -> Metadata | Callable[[], Metadata]:
    """Return what to send with each call: names and values, or a callable that returns the current ones.

    Raises:
        TypeError, ValueError: a name or value that gRPC does not take.
    """
    check_type("metadata", metadata, (Mapping, NoneType), "a mapping of names to values")
    fixed = tuple((name.lower(), value) for name, value in (metadata or {}).items())
    for name, value in fixed:
        check_type(f"metadata {name!r}", value, str, "a str")
        if not re.fullmatch(r"[0-9a-z_.-]+", name) or not re.fullmatch(r"[ -~]*", value):
            raise ValueError(f"metadata must be printable ASCII under names of a-z 0-9 _ . -, got {name!a}")
    if callable(token):
        return lambda: (*fixed, _bearer(token()))
    check_type("token", token, (str, NoneType), "a str, or a function that returns one")
    return fixed if token is None else (*fixed, _bearer(token))


def _bearer(token: str) -> tuple[str, str]:
    return "authorization", f"Bearer {token}"
