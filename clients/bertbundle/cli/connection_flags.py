"""The flags of the command that say how to connect, and the client they make."""

from __future__ import annotations

import argparse
import contextlib
import math
from pathlib import Path

from bertbundle.client.sync_client import Client
from bertbundle.errors import InputError
from bertbundle.transports.channels import Tls

__all__ = ["add_flags", "connect", "seconds"]

_FILES = {
    "ca": "PEM file of the authorities to trust; implies --tls",
    "cert": "PEM file of the client's certificates (mTLS); implies --tls",
    "key": "PEM file of the key of --cert",
    "token_file": "file of a bearer token, read again for each call",
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "--hedge-after", type=seconds, metavar="SECONDS", help="ask once more, at another address, after so long"
    )
    parser.add_argument("--tls", action="store_true", help="connect with TLS")
    for name, text in _FILES.items():
        parser.add_argument("--" + name.replace("_", "-"), type=Path, metavar="FILE", help=text)


def seconds(text: str) -> float:
    """Read a flag's positive number of seconds."""
    with contextlib.suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected a positive number of seconds, got {text!r}")


def connect(options: argparse.Namespace) -> Client:
    """Make the client that the flags say.

    Raises:
        InputError: an address that is none, a file that cannot be read or used, or --cert without --key.
    """
    files = {name: _read(name, getattr(options, name)) for name in _FILES}
    try:
        return _client(options, files)
    except ValueError as error:
        raise InputError(f"{error}.") from error


def _client(options: argparse.Namespace, files: dict[str, bytes | None]) -> Client:
    return Client(
        options.server,
        options.model,
        timeout=options.timeout,
        hedge_after=options.hedge_after,
        tls=_tls(options, files),
        token=(lambda: options.token_file.read_text(encoding="ascii").strip()) if options.token_file else None,
        concurrency=getattr(options, "concurrency", 4),
    )


def _read(name: str, path: Path | None) -> bytes | None:
    try:
        return path.read_bytes() if path else None
    except OSError as error:
        raise InputError(f"--{name.replace('_', '-')} {path} cannot be read: {error.strerror}.") from error


def _tls(options: argparse.Namespace, files: dict[str, bytes | None]) -> Tls | None:
    if (files["cert"] is None) != (files["key"] is None):
        raise InputError("--cert and --key go together.")
    if not (options.tls or files["ca"] or files["cert"]):
        return None
    try:
        return Tls(root_certificates=files["ca"], certificate_chain=files["cert"], private_key=files["key"])
    except ValueError as error:
        given = " ".join(f"--{name} {getattr(options, name)}" for name in ("ca", "cert", "key") if files[name])
        raise InputError(f"{given} is not usable: {error}.") from error
