"""Command-line flags for the connection to a server, and the client that they configure."""

from __future__ import annotations

import argparse
import contextlib
import functools
import math
from pathlib import Path
from typing import Any

from bertbundle.client.sync_client import Client
from bertbundle.errors import InputError
from bertbundle.transports.credentials import Tls

__all__ = [
    "DEFAULT_SERVER",
    "add_connection_flags",
    "channel_settings",
    "make_client",
    "positive_seconds",
    "version_or_label",
]

DEFAULT_SERVER = "localhost:8500"
_FILE_FLAGS = {
    "ca": "PEM file of the certificate authorities to trust; implies --tls",
    "cert": "PEM file of the client's certificate chain (mTLS); implies --tls",
    "key": "PEM file of the private key of --cert",
    "token_file": "file with a bearer token, read again for each call",
}


def add_connection_flags(parser: argparse.ArgumentParser, *, need_model: bool = True, timeout: float = 30.0) -> None:
    """Add the flags to a parser."""
    parser.add_argument(
        "--server",
        type=_name,
        default=DEFAULT_SERVER,
        metavar="HOST:PORT",
        help=f"gRPC address, or several separated by commas (default: {DEFAULT_SERVER})",
    )
    parser.add_argument("--model", type=_name, required=need_model, metavar="NAME", help="model name")
    parser.add_argument(
        "--timeout",
        type=positive_seconds,
        default=timeout,
        metavar="SECONDS",
        help="timeout of a call (default: 30.0; bulk: 300.0)",
    )
    parser.add_argument(
        "--hedge-after",
        type=positive_seconds,
        metavar="SECONDS",
        help="send a request again, to another address, if there is no response after SECONDS",
    )
    parser.add_argument("--tls", action="store_true", help="connect with TLS")
    for name, text in _FILE_FLAGS.items():
        parser.add_argument(_flag(name), type=Path, metavar="FILE", help=text)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _name(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("expected a name, got nothing")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise argparse.ArgumentTypeError(f"{text!a} is not valid Unicode") from error
    return text


def positive_seconds(text: str) -> float:
    """Parse a positive, finite number of seconds."""
    with contextlib.suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected a positive number of seconds, got {text!r}")


def version_or_label(text: str) -> int | str:
    """Return the version number that a text is, or the text, which is a version label.

    Raises:
        InputError: the number is too large for a version.
    """
    if not text.isdecimal():
        return text
    if int(text) >= 2**63:
        raise InputError(f"{text} is no version number: it has more than 64 bits.")
    return int(text)


def make_client(options: argparse.Namespace, *, version: int | str | None = None) -> Client:
    """Create a client from the parsed flags.

    Raises:
        InputError: an invalid address, a file that cannot be read or used, or --cert without --key.
    """
    channel = channel_settings(options)
    try:
        return Client(
            options.server,
            options.model,
            version=version,
            timeout=options.timeout,
            hedge_after=options.hedge_after,
            concurrency=getattr(options, "concurrency", 4),
            **channel,
        )
    except ValueError as error:
        raise InputError(f"{error}.") from error


def channel_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of the connection in the parsed flags, `tls` and `token`.

    Raises:
        InputError: a file cannot be read or used, or --cert comes without --key.
    """
    files = {name: _read(name, getattr(options, name)) for name in _FILE_FLAGS}
    if not (files["token_file"] or b"").isascii():
        raise InputError(f"--token-file {options.token_file} has characters that are not ASCII. Correct it.")
    path = options.token_file and options.token_file.absolute()  # workers of a cluster run in other directories
    token = functools.partial(_read_token, path) if path else None  # can be pickled
    return {"tls": _tls(options, files), "token": token}


def _read_token(path: Path) -> str:
    return path.read_text(encoding="ascii").strip()


def _read(name: str, path: Path | None) -> bytes | None:
    try:
        return path.read_bytes() if path else None
    except OSError as error:
        raise InputError(f"{_flag(name)} {path} cannot be read: {error.strerror}.") from error


def _tls(options: argparse.Namespace, files: dict[str, bytes | None]) -> Tls | None:
    if (files["cert"] is None) != (files["key"] is None):
        raise InputError("--cert and --key go together.")
    if not (options.tls or files["ca"] or files["cert"]):
        return None
    try:
        return Tls(root_certificates=files["ca"], certificate_chain=files["cert"], private_key=files["key"])
    except ValueError as error:
        passed = " ".join(f"--{name} {getattr(options, name)}" for name in ("ca", "cert", "key") if files[name])
        raise InputError(f"{passed} is not usable: {error}.") from error
