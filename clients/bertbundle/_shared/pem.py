"""Check PEM texts before gRPC takes them: it only logs what is wrong with them, and then nobody is there."""

from __future__ import annotations

import contextlib
import os
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

__all__ = ["check_authorities", "load_identity"]


def check_authorities(pem: bytes, name: str) -> None:
    """Check that a text holds certificates; `name` is what an error calls it.

    Raises:
        ValueError: it holds none, or a malformed one.
    """
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem.decode("ascii"))
    except (ValueError, ssl.SSLError) as error:
        raise ValueError(f"{name} hold no PEM certificate: {error}") from error


def load_identity(context: ssl.SSLContext, chain: bytes, key: bytes) -> None:
    """Make a context show the certificates of a chain, the first of which is the key's.

    Raises:
        ValueError: it is another's, it is encrypted, or one of them is no PEM text.
    """
    check_authorities(chain, "the certificates")
    try:
        with _files(chain, key) as (chain_file, key_file):
            context.load_cert_chain(chain_file, key_file, password=_refuse)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ValueError("the private key is that of another certificate") from error
        raise ValueError(f"the private key is no PEM key: {error}") from error


def _refuse() -> NoReturn:
    raise ValueError("the private key is encrypted; decrypt it: openssl pkey -in KEY -out PLAIN_KEY")


@contextlib.contextmanager
def _files(*texts: bytes) -> Iterator[list[str]]:
    """Give files that hold the texts: ssl reads a key from nothing else."""
    with contextlib.ExitStack() as stack:
        if hasattr(os, "memfd_create"):  # Linux: a key stays off the disk, which may be read-only
            files = [stack.enter_context(os.fdopen(os.memfd_create("pem"), "wb", buffering=0)) for _ in texts]
            for file, text in zip(files, texts, strict=True):
                file.write(text)
            yield [f"/dev/fd/{file.fileno()}" for file in files]
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            for number, text in enumerate(texts):
                (folder / str(number)).write_bytes(text)
            yield [str(folder / str(number)) for number in range(len(texts))]
