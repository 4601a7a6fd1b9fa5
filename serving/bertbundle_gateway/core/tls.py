"""TLS of a listening port: the server's certificate, and the authority that signs those of the callers (mTLS)."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from bertbundle import InputError
from bertbundle._shared.pem import check_certificates, load_cert_chain

__all__ = ["ServerTls", "read_server_tls"]


@dataclass(frozen=True, slots=True)
class ServerTls:
    """The certificate of a server, as PEM data.

    Attributes:
        certificate_chain, private_key: the server's certificate and key.
        client_authorities: callers must have a certificate of one of these; None to accept all callers.
    """

    certificate_chain: bytes
    private_key: bytes
    client_authorities: bytes | None = None

    def grpc_credentials(self) -> Any:
        """Return the credentials of a gRPC port."""
        pairs = [(self.private_key, self.certificate_chain)]
        return grpc.ssl_server_credentials(pairs, self.client_authorities, self.client_authorities is not None)

    def ssl_context(self) -> ssl.SSLContext:
        """Return the context of an HTTPS port.

        Raises:
            ValueError: the key or a certificate is not usable.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        load_cert_chain(context, self.certificate_chain, self.private_key)
        if self.client_authorities is not None:
            check_certificates(self.client_authorities, "the client authorities")
            context.load_verify_locations(cadata=self.client_authorities.decode("ascii"))
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def read_server_tls(certificate: Path | None, key: Path | None, client_ca: Path | None) -> ServerTls | None:
    """Read the files of --tls_cert, --tls_key and --tls_client_ca; return None if none is given.

    Raises:
        InputError: a file cannot be read or used, or --tls_cert or --tls_key is missing.
    """
    if certificate is None and key is None and client_ca is None:
        return None
    if certificate is None or key is None:
        raise InputError("--tls_cert and --tls_key go together, and --tls_client_ca needs both.")
    authorities = None if client_ca is None else _read("--tls_client_ca", client_ca)
    tls = ServerTls(_read("--tls_cert", certificate), _read("--tls_key", key), authorities)
    try:
        tls.ssl_context()
    except ValueError as error:
        raise InputError(f"--tls_cert {certificate}, --tls_key {key} or --tls_client_ca: {error}.") from error
    return tls


def _read(flag: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{flag} {path} cannot be read: {error.strerror}.") from error
