"""The flags of `bertbundle-serve`: TensorFlow Serving's names where it has them."""

from __future__ import annotations

import argparse
import math
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bertbundle._shared.commands import CommandParser
from bertbundle_serving.config.batching_parameters import BatchingParameters, read_batching_parameters
from bertbundle_serving.config.models import ModelConfig, read_model_configs
from bertbundle_serving.config.monitoring import read_metrics_path
from bertbundle_serving.dataplane.admission import Limits
from bertbundle_serving.errors import ServeError
from bertbundle_serving.logs import LOG_FORMATS
from bertbundle_serving.options import ServerOptions
from bertbundle_serving.runtimes import PRECISIONS, runtime_names

__all__ = ["options_of", "parse_flags", "read_arguments"]

_MOST = 4096
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def read_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the flags as they were given; None takes the command line's.

    Raises:
        SystemExit: a flag is unknown or malformed, or asks for help or the version.
    """
    return _parser().parse_args(arguments)


def parse_flags(arguments: list[str] | None = None) -> ServerOptions:
    """Return the options that the flags give; None takes the command line's.

    Raises:
        ServeError: a model is missing, or a file that a flag names is missing or malformed.
        SystemExit: as `read_arguments`.
    """
    return options_of(read_arguments(arguments))


def options_of(flags: argparse.Namespace) -> ServerOptions:
    """Return the options that flags give; see `parse_flags`."""
    monitoring = flags.monitoring_config_file
    return ServerOptions(
        models=_models(flags),
        model_config_file=flags.model_config_file,
        config_poll_seconds=flags.model_config_file_poll_wait_seconds,
        host=flags.host,
        port=flags.port,
        socket_path=flags.grpc_socket_path,
        rest_port=flags.rest_api_port or None,
        rest_seconds=flags.rest_api_timeout_in_ms / 1000,
        cors=flags.rest_api_enable_cors_support,
        page=flags.ui,
        metrics_path=None if monitoring is None else read_metrics_path(monitoring),
        ssl_config_file=flags.ssl_config_file,
        channel_arguments=flags.grpc_channel_arguments,
        poll_seconds=flags.file_system_poll_wait_seconds,
        load_threads=flags.num_load_threads,
        load_retries=flags.max_num_load_retries,
        load_retry_seconds=flags.load_retry_interval_micros / 1e6,
        labels_for_unavailable=flags.allow_version_labels_for_unavailable_models,
        runtime=flags.runtime,
        precision=flags.precision,
        threads=flags.tensorflow_intra_op_parallelism or None,
        inter_op_threads=flags.tensorflow_inter_op_parallelism or None,
        warmup=flags.enable_model_warmup,
        batching=_batching(flags),
        batch_any=bool(flags.enable_batching),
        model_batching=flags.enable_per_model_batching_parameters,
        limits=Limits(flags.grpc_max_threads, flags.max_message_bytes, 8 * flags.max_message_bytes),
        tensor_content=flags.enable_serialization_as_tensor_content,
        health=flags.enable_grpc_healthcheck_service,
        lame_duck_seconds=flags.lame_duck_seconds,
        log_requests=flags.log_requests,
    )


def _models(flags: argparse.Namespace) -> tuple[ModelConfig, ...]:
    # As in TensorFlow Serving, the file wins over the flags for a single model.
    if flags.model_config_file is not None:
        return read_model_configs(flags.model_config_file)
    if flags.model_base_path is None:
        raise ServeError("no model to serve. Give --model_base_path, or --model_config_file for several models.")
    if not flags.model_name:
        raise ServeError("--model_name is empty. Give the name that clients ask for.")
    return (ModelConfig(flags.model_name, flags.model_base_path),)


def _batching(flags: argparse.Namespace) -> BatchingParameters | None:
    if flags.enable_batching is False:
        return None
    path = flags.batching_parameters_file
    return BatchingParameters() if path is None else read_batching_parameters(path)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="bertbundle-serve",
        description="Serve bundles with TensorFlow Serving's gRPC and REST API. Takes --flag=value and --flag value.",
        allow_abbrev=False,
    )
    _add_models(parser.add_argument_group("models"))
    _add_loading(parser.add_argument_group("loading"))
    _add_network(parser.add_argument_group("network"))
    _add_rest(parser.add_argument_group("REST"))
    _add_engine(parser.add_argument_group("engine"))
    parser.add_argument("--log_format", choices=tuple(LOG_FORMATS), default="text", help="(default: %(default)s)")
    _add_switch(parser, "--log_requests", default=False, text="a line in the log per request, never with its contents")
    parser.add_argument("--version", action="version", version=f"bertbundle-serve {_version()}")
    return parser


def _add_models(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--model_name", default="default", help="name of the model (default: %(default)s)")
    group.add_argument("--model_base_path", type=_path, help="directory with one directory per version")
    group.add_argument("--model_config_file", type=_path, help="several models: a ModelServerConfig in text form")
    group.add_argument(
        "--model_config_file_poll_wait_seconds",
        metavar="SECONDS",
        type=_seconds,
        default=0.0,
        help="seconds between two looks whether that file changed; 0 never looks (default: %(default)g)",
    )
    group.add_argument(
        "--file_system_poll_wait_seconds",
        metavar="SECONDS",
        type=_seconds,
        default=1.0,
        help="seconds between two looks for new versions; 0 looks once, negative never (default: %(default)g)",
    )
    _add_switch(
        group,
        "--allow_version_labels_for_unavailable_models",
        default=False,
        text="let a new label point to a version that is not available",
    )


def _add_loading(group: argparse._ArgumentGroup) -> None:
    _add_switch(group, "--enable_model_warmup", default=True, text="run a version's warmup requests before it serves")
    group.add_argument("--num_load_threads", type=_count, default=0, help="models loaded at a time (default: 1)")
    group.add_argument(
        "--max_num_load_retries",
        type=_count,
        default=5,
        help="how often a version that does not load is tried again (default: %(default)s)",
    )
    group.add_argument(
        "--load_retry_interval_micros",
        metavar="MICROS",
        type=_whole,
        default=60_000_000,
        help="microseconds between two tries (default: %(default)s)",
    )


def _add_network(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    group.add_argument("--port", type=_port, default=8500, help="gRPC; 0 picks a free one (default: %(default)s)")
    group.add_argument("--grpc_socket_path", default="", help="a Unix socket for gRPC, beside the port")
    group.add_argument("--ssl_config_file", type=_path, help="TLS for gRPC: an SSLConfig in text form")
    group.add_argument(
        "--grpc_channel_arguments", type=_channel_arguments, default=(), help="name=value,... passed to gRPC"
    )
    group.add_argument(
        "--grpc_max_threads",
        type=_positive,
        default=1000,
        help="requests in flight; more are refused (default: %(default)s)",
    )
    text = "size of a request, or of an answer (default: %(default)s)"
    group.add_argument("--max_message_bytes", type=_whole, default=64 << 20, help=text)
    _add_switch(
        group, "--enable_grpc_healthcheck_service", default=True, text="answer the standard gRPC health service"
    )
    group.add_argument(
        "--lame_duck_seconds",
        type=_seconds,
        default=0.0,
        help="seconds to answer on after SIGTERM, while the health says NOT_SERVING (default: %(default)g)",
    )
    _add_switch(
        group,
        "--enable_serialization_as_tensor_content",
        default=False,
        text="answer with tensor_content instead of the *_val fields",
    )


def _add_rest(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--rest_api_port", type=_port, default=0, help="0 means no REST (default: %(default)s)")
    group.add_argument(
        "--rest_api_timeout_in_ms", type=_whole, default=30_000, help="deadline of a request (default: %(default)s)"
    )
    _add_switch(group, "--rest_api_enable_cors_support", default=False, text="let pages of other origins ask")
    group.add_argument("--monitoring_config_file", type=_path, help="metrics: a MonitoringConfig in text form")
    _add_switch(group, "--ui", default=False, text="a page at / of the REST port to try the models")


def _add_engine(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--runtime", choices=runtime_names(), default="auto", help="(default: %(default)s)")
    group.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="bundle",
        help="of the matrix products; bundle: as exported, bfloat16 only where it is fast (default: %(default)s)",
    )
    group.add_argument(
        "--enable_batching",
        nargs="?",
        type=_boolean,
        const=True,
        metavar="BOOL",
        help="compute together what waits; true does it for models that are no bundles, too (default: for bundles)",
    )
    group.add_argument("--batching_parameters_file", type=_path, help="BatchingParameters in text form")
    _add_switch(
        group,
        "--enable_per_model_batching_parameters",
        default=True,
        text="let a version's own batching_params.pbtxt count",
    )
    group.add_argument(
        "--tensorflow_intra_op_parallelism",
        metavar="THREADS",
        type=_count,
        default=0,
        help="threads of one computation, ONNX too; 0 takes the cores the process may use (default: %(default)s)",
    )
    group.add_argument(
        "--tensorflow_inter_op_parallelism",
        metavar="THREADS",
        type=_count,
        default=0,
        help="threads for independent operations, saved_model only; 0 leaves it to TensorFlow (default: %(default)s)",
    )


def _add_switch(group: argparse._ActionsContainer, flag: str, *, default: bool, text: str) -> None:
    help_text = f"{text} (default: {str(default).lower()})"
    group.add_argument(flag, nargs="?", type=_boolean, const=True, default=default, metavar="BOOL", help=help_text)


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("the path is empty")
    return Path(text)


def _boolean(text: str) -> bool:
    try:
        return _BOOLEANS[text.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false") from None


def _channel_arguments(text: str) -> tuple[tuple[str, int | str], ...]:
    pairs = [pair.partition("=") for pair in text.split(",") if pair]
    if any(not name or not equals for name, equals, _ in pairs):
        raise argparse.ArgumentTypeError(f"{text!r} is not name=value,...")
    return tuple((name, int(value) if value.lstrip("-").isdigit() else value) for name, _, value in pairs)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not math.isfinite(seconds):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {2**31 - 1}")
    return int(text)


def _count(text: str, least: int = 0) -> int:
    # A thread takes memory and time to end: what is mistyped must not take the machine with it.
    if not (text.isascii() and text.isdigit()) or not least <= int(text) <= _MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least} to {_MOST}")
    return int(text)


def _positive(text: str) -> int:
    return _count(text, 1)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0 to 65535")
    return int(text)


def _version() -> str:
    try:
        return version("bertbundle-toolkit")
    except PackageNotFoundError:  # run from a source tree
        return "unknown"
