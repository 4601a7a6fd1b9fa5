"""Validate PEM data before it is passed to gRPC, which only logs a bad certificate and then fails to connect."""

from __future__ import annotations

import contextlib
import os
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

__all__ = ["check_certificates", "load_cert_chain"]


def check_certificates(pem: bytes, name: str) -> None:
    """Check that PEM data contains certificates; error messages refer to the data by `name`.

    Raises:
        ValueError: it contains no certificate, or a malformed one.
    """
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem.decode("ascii"))
    except (ValueError, ssl.SSLError) as error:
        raise ValueError(f"{name} contain no PEM certificate: {error}") from error


def load_cert_chain(context: ssl.SSLContext, chain: bytes, key: bytes) -> None:
    """Load a certificate chain and its private key, both as PEM data, into an SSL context.

    Raises:
        ValueError: the key does not match the first certificate or is encrypted, or the chain or key is not PEM.
    """
    check_certificates(chain, "the certificates")
    try:
        with _temporary_files(chain, key) as (chain_file, key_file):
            context.load_cert_chain(chain_file, key_file, password=_refuse_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ValueError("the private key does not match the certificate") from error
        raise ValueError(f"the private key is not a PEM key: {error}") from error


def _refuse_password() -> NoReturn:
    raise ValueError("the private key is encrypted; decrypt it: openssl pkey -in KEY -out PLAIN_KEY")


@contextlib.contextmanager
def _temporary_files(*contents: bytes) -> Iterator[list[str]]:
    """Write each content to a temporary file and yield the paths: `ssl` loads a key only from a file."""
    with contextlib.ExitStack() as stack:
        if hasattr(os, "memfd_create"):  # Linux: the key is not written to disk, which may be read-only
            files = [stack.enter_context(os.fdopen(os.memfd_create("pem"), "wb", buffering=0)) for _ in contents]
            for file, content in zip(files, contents, strict=True):
                file.write(content)
            yield [f"/dev/fd/{file.fileno()}" for file in files]
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            paths = [folder / str(number) for number in range(len(contents))]
            for path, content in zip(paths, contents, strict=True):
                path.write_bytes(content)
            yield [str(path) for path in paths]
