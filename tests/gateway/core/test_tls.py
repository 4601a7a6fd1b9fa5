"""The certificate of a port."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from bertbundle import InputError
from bertbundle_gateway.core.tls import read_server_tls


def test_no_files() -> None:
    """Without files there is no TLS."""
    assert read_server_tls(None, None, None) is None


def test_files(tmp_path: Path, certificate: tuple[bytes, bytes]) -> None:
    """A certificate and its key, and the authority of the callers, whose certificates are then required."""
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    key.write_bytes(certificate[0])
    cert.write_bytes(certificate[1])
    tls = read_server_tls(cert, key, None)
    assert tls is not None
    assert tls.ssl_context().verify_mode == ssl.CERT_NONE
    mutual = read_server_tls(cert, key, cert)
    assert mutual is not None
    assert mutual.ssl_context().verify_mode == ssl.CERT_REQUIRED
    for files in ((cert, None, None), (None, key, None), (None, None, cert)):
        with pytest.raises(InputError, match="go together"):
            read_server_tls(*files)
    with pytest.raises(InputError, match="cannot be read"):
        read_server_tls(cert, tmp_path / "none", None)
    for wrong in ((key, key, None), (cert, cert, None), (cert, key, key)):
        with pytest.raises(InputError, match="--tls_cert"):
            read_server_tls(*wrong)
