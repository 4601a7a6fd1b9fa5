"""TLS settings, bearer tokens and metadata of a connection."""

from __future__ import annotations

import functools
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import TypeAlias

from bertbundle._shared.pem import check_certificates, load_cert_chain
from bertbundle._shared.validation import check_type

__all__ = ["Metadata", "Tls", "Token", "make_metadata"]

Token: TypeAlias = "str | Callable[[], str]"  # noqa: S105 - a type
"""A bearer token, or a callable that returns the current token."""
Metadata: TypeAlias = tuple[tuple[str, str], ...]
"""Names and values that are sent with a call, in gRPC's form."""


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS settings of a connection.

    Attributes:
        root_certificates: PEM bytes of the certificate authorities to trust; None for gRPC's default authorities.
        private_key, certificate_chain: PEM bytes that authenticate the client (mTLS); both or neither.
        server_name: name that the server's certificate must have; None for the host in the address.

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


def make_metadata(token: Token | None, metadata: Mapping[str, str] | None) -> Callable[[], Metadata]:
    """Return a callable that returns the metadata of a call, with the current token.

    Raises:
        TypeError: `token` or `metadata` has the wrong type.
        ValueError: gRPC does not accept a name or a value.
    """
    check_type("metadata", metadata, (Mapping, NoneType), "a mapping of names to values")
    pairs = tuple((name.lower(), value) for name, value in (metadata or {}).items())
    for name, value in pairs:
        check_type(f"metadata {name!r}", value, str, "a str")
        if not re.fullmatch(r"[0-9a-z_.-]+", name) or not re.fullmatch(r"[ -~]*", value):
            raise ValueError(f"metadata must have names of a-z 0-9 _ . - and values of printable ASCII, got {name!a}")
    if callable(token):
        return lambda: (*pairs, _bearer(token()))
    check_type("token", token, (str, NoneType), "a str, or a function that returns one")
    return functools.partial(tuple, pairs if token is None else (*pairs, _bearer(token)))


def _bearer(token: str) -> tuple[str, str]:
    return "authorization", f"Bearer {token}"
