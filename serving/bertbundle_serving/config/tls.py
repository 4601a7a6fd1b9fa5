"""Read an --ssl_config_file: TLS for gRPC, in TensorFlow Serving's format."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import grpc

from bertbundle._shared.pem import check_certificates, load_cert_chain
from bertbundle_serving.config.text_format import read_text_file
from bertbundle_serving.errors import ServeError
from bertbundle_serving.protos import _config_pb2 as proto

__all__ = ["read_credentials"]

_FLAG = "--ssl_config_file"


def read_credentials(path: Path) -> Any:
    """Return the gRPC server credentials in an SSLConfig file, whose values are PEM texts.

    If `client_verify` is set, clients must present a certificate signed by `custom_ca`.

    Raises:
        ServeError: the file is missing or malformed, lacks the key or the certificate, or they do not match.
    """
    config = read_text_file(path, proto.SSLConfig(), _FLAG, secret=True)
    if not config.server_key or not config.server_cert:
        raise ServeError(f"{_FLAG} {path} lacks server_key or server_cert: both are PEM texts, not paths.")
    if config.client_verify and not config.custom_ca:
        raise ServeError(f"{_FLAG} {path} has client_verify but no custom_ca to verify with.")
    key, chain, authorities = (text.encode() for text in (config.server_key, config.server_cert, config.custom_ca))
    _check_pem_texts(path, key, chain, authorities)
    return grpc.ssl_server_credentials([(key, chain)], authorities or None, config.client_verify)


def _check_pem_texts(path: Path, key: bytes, chain: bytes, authorities: bytes) -> None:
    try:
        load_cert_chain(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), chain, key)
        if authorities:
            check_certificates(authorities, "the certificates of custom_ca")
    except ValueError as error:
        raise ServeError(f"{_FLAG} {path} is not usable: {error}. Its values are PEM texts, not paths.") from error
