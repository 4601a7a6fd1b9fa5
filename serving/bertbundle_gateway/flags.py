"""The flags of `bertbundle-gateway`, named as those of `bertbundle-serve`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bertbundle import InputError, Retries, Tls
from bertbundle._shared import flag_types
from bertbundle._shared.commands import CommandParser
from bertbundle._shared.logs import LOG_FORMATS
from bertbundle.transports.channels import check_connection
from bertbundle_gateway.core.limits import Limits, add_text_limits
from bertbundle_gateway.core.models import ClientSettings
from bertbundle_gateway.core.servers import Servers
from bertbundle_gateway.core.tls import read_server_tls
from bertbundle_gateway.options import GatewayOptions

__all__ = ["parse_arguments", "to_options"]


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse arguments; None parses those of the command line.

    Raises:
        SystemExit: a flag is unknown or malformed, or --help or --version is given.
    """
    return _parser().parse_args(arguments)


def to_options(flags: argparse.Namespace) -> GatewayOptions:
    """Return the options of the gateway for parsed flags.

    Raises:
        InputError: no server is given, or a file named by a flag is missing or malformed.
    """
    return GatewayOptions(
        servers=_servers(flags.server, flags.model),
        server_tls=_server_tls(flags),
        server_token=_token(flags.server_token_file),
        clients=ClientSettings(
            flags.timeout, flags.call_timeout, flags.hedge_after, Retries(attempts=flags.max_attempts)
        ),
        batches_in_flight=flags.batches_in_flight or None,
        host=flags.host,
        port=flags.port,
        rest_port=flags.rest_api_port or None,
        rest_timeout_seconds=flags.rest_api_timeout_in_ms / 1000,
        cors=flags.rest_api_enable_cors_support,
        page=flags.ui,
        tls=read_server_tls(flags.tls_cert, flags.tls_key, flags.tls_client_ca),
        api_keys_file=flags.api_keys_file,
        limits=Limits(flags.max_texts, flags.max_characters, flags.max_requests),
        message_bytes=flags.max_message_bytes,
        log_requests=flags.log_requests,
    )


def _servers(default: str | None, models: list[str]) -> Servers:
    if default is None and not models:
        raise InputError("no server is given. Give --server HOST:PORT, or --model NAME=HOST:PORT for each model.")
    pairs = [model.partition("=") for model in models]
    for name, _, address in pairs:
        if not name or not (address or default):
            raise InputError(f"--model {name}={address} needs a name and an address, or --server for its address.")
    addresses: dict[str, str | None] = {name: address or None for name, _, address in pairs}
    if len(addresses) < len(models):
        raise InputError("--model is given twice with the same name. List all addresses of a model, with commas.")
    for server in (default, *addresses.values()):
        _check_address(server)
    return Servers(default, addresses)


def _check_address(address: str | None) -> None:
    try:
        if address is not None:
            check_connection(address, "none")
    except ValueError as error:
        raise InputError(f"{error}.") from error


def _server_tls(flags: argparse.Namespace) -> Tls | None:
    files = {name: getattr(flags, f"server_{name}") for name in ("ca", "cert", "key")}
    if (files["cert"] is None) != (files["key"] is None):
        raise InputError("--server_cert and --server_key go together.")
    if not flags.server_tls and not any(files.values()):
        return None
    contents = {name: None if path is None else _read(f"--server_{name}", path) for name, path in files.items()}
    try:
        return Tls(contents["ca"], contents["key"], contents["cert"])
    except ValueError as error:
        raise InputError(f"--server_ca, --server_cert or --server_key: {error}.") from error


def _token(path: Path | None) -> Callable[[], str] | None:
    if path is None:
        return None
    _read("--server_token_file", path)
    return lambda: path.read_text(encoding="ascii").strip()


def _read(flag: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{flag} {path} cannot be read: {error.strerror}.") from error


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="bertbundle-gateway",
        description="Answer texts over gRPC and REST with models on TensorFlow Serving or bertbundle-serve.",
        allow_abbrev=False,
    )
    _add_servers(parser.add_argument_group("servers"))
    _add_calls(parser.add_argument_group("calls to the servers"))
    _add_network(parser.add_argument_group("network"))
    _add_limits(parser.add_argument_group("limits"))
    parser.add_argument(
        "--log_format",
        choices=tuple(LOG_FORMATS),
        default="text",
        help="format of log lines on stderr (default: %(default)s)",
    )
    _add_switch(parser, "--log_requests", text="log a line per request, never with its texts")
    parser.add_argument("--version", action="version", version=f"bertbundle-gateway {_version()}")
    return parser


def _add_servers(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--server", metavar="HOST:PORT", help="gRPC address of the models, or several separated by commas"
    )
    group.add_argument(
        "--model",
        metavar="NAME[=HOST:PORT]",
        action="append",
        default=[],
        help="a model, and its addresses if they are not those of --server; may be repeated. Without --server there "
        "are no other models",
    )
    _add_switch(group, "--server_tls", text="connect to the servers with TLS")
    for name, text in (
        ("--server_ca", "PEM file of the authorities that sign the servers' certificates; implies --server_tls"),
        ("--server_cert", "PEM file of the gateway's certificate for the servers (mTLS); implies --server_tls"),
        ("--server_key", "PEM file of the private key of --server_cert"),
        ("--server_token_file", "file with a bearer token for the servers, read again for each call"),
    ):
        group.add_argument(name, type=flag_types.path, metavar="FILE", help=text)


def _add_calls(group: argparse._ArgumentGroup) -> None:
    for name, default, text in (
        ("--timeout", 30.0, "timeout of a request with all of its calls and retries (default: %(default)g)"),
        ("--call_timeout", None, "timeout of one call (default: the time that remains of the request)"),
        ("--hedge_after", None, "send a call again, to another address, if there is no response after SECONDS"),
    ):
        group.add_argument(name, type=flag_types.positive_seconds, default=default, metavar="SECONDS", help=text)
    group.add_argument(
        "--max_attempts",
        type=flag_types.positive_count,
        default=Retries().attempts,
        help="maximum number of attempts of a call (default: %(default)s)",
    )
    group.add_argument(
        "--batches_in_flight",
        type=flag_types.count,
        default=16,
        help="texts of several callers are put together while so many calls of a model and a length are in flight; 0 "
        "puts none together (default: %(default)s)",
    )


def _add_network(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    group.add_argument(
        "--port", type=flag_types.port, default=8600, help="gRPC port; 0 picks a free one (default: %(default)s)"
    )
    group.add_argument(
        "--rest_api_port", type=flag_types.port, default=0, help="REST port; 0 disables REST (default: %(default)s)"
    )
    group.add_argument(
        "--rest_api_timeout_in_ms",
        type=flag_types.positive_int,
        default=30_000,
        help="deadline of a REST request in milliseconds (default: %(default)s)",
    )
    _add_switch(group, "--rest_api_enable_cors_support", text="allow requests from web pages of other origins")
    _add_switch(group, "--ui", text="a web page to try the models, at / on the REST port")
    for name, text in (
        ("--api_keys_file", "file with the API keys that callers need, one a line; read again when it changes"),
        ("--tls_cert", "PEM file of the certificate of both ports"),
        ("--tls_key", "PEM file of the private key of --tls_cert"),
        ("--tls_client_ca", "PEM file of the authorities that sign the callers' certificates (mTLS)"),
    ):
        group.add_argument(name, type=flag_types.path, metavar="FILE", help=text)


def _add_limits(group: argparse._ArgumentGroup) -> None:
    add_text_limits(group)
    group.add_argument(
        "--max_requests",
        type=flag_types.positive_count,
        default=Limits().requests,
        help="maximum number of requests in flight; further ones are refused (default: %(default)s)",
    )
    group.add_argument(
        "--max_message_bytes",
        type=flag_types.positive_int,
        default=16 << 20,
        help="maximum size of a request in bytes (default: %(default)s)",
    )


def _add_switch(group: argparse._ActionsContainer, flag: str, *, text: str) -> None:
    group.add_argument(
        flag,
        nargs="?",
        type=flag_types.boolean,
        const=True,
        default=False,
        metavar="BOOL",
        help=f"{text} (default: false)",
    )


def _version() -> str:
    try:
        return version("bertbundle-toolkit")
    except PackageNotFoundError:  # run from a source tree
        return "unknown"
