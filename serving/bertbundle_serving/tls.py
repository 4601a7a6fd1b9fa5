"""TLS from an --ssl_config_file, in TensorFlow Serving's format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
from google.protobuf import text_format

from bertbundle.errors import ServeError
from bertbundle_serving import _config_pb2 as proto

__all__ = ["read_credentials"]


def read_credentials(path: Path) -> Any:
    """Return the server credentials of an SSLConfig in text form, whose values are PEM texts.

    With `client_verify` a client must show a certificate that `custom_ca` signed.

    Raises:
        ServeError: the file is missing, malformed, or lacks the key or the certificate.
    """
    try:
        config = text_format.Parse(path.read_text(encoding="utf-8"), proto.SSLConfig())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise ServeError(f"cannot read --ssl_config_file {path}: {error}. It holds an SSLConfig.") from error
    if not config.server_key or not config.server_cert:
        raise ServeError(f"--ssl_config_file {path} lacks server_key or server_cert: both hold PEM texts, not paths.")
    if config.client_verify and not config.custom_ca:
        raise ServeError(f"--ssl_config_file {path} asks for client_verify without a custom_ca to verify with.")
    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        config.custom_ca.encode() or None,
        config.client_verify,
    )
