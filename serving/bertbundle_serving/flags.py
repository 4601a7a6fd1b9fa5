"""The flags of `bertbundle-serve`, with TensorFlow Serving's names where it has the same flags."""

from __future__ import annotations

import argparse
import logging
from importlib.metadata import PackageNotFoundError, version

from bertbundle._shared import flag_types
from bertbundle._shared.commands import CommandParser
from bertbundle._shared.logs import LOG_FORMATS
from bertbundle_gateway.core import limits as text_limits
from bertbundle_serving.config.batching_parameters import BatchingParameters, read_batching_parameters
from bertbundle_serving.config.models import ModelConfig, read_model_configs
from bertbundle_serving.config.monitoring import read_metrics_path
from bertbundle_serving.dataplane.admission import Limits
from bertbundle_serving.errors import ServeError
from bertbundle_serving.options import ServerOptions
from bertbundle_serving.runtimes import DEVICES, PRECISIONS, runtime_names

__all__ = ["parse_arguments", "parse_flags", "to_options"]

_logger = logging.getLogger(__name__)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse arguments; None parses those of the command line.

    Raises:
        SystemExit: a flag is unknown or malformed, or --help or --version is given.
    """
    return _parser().parse_args(arguments)


def parse_flags(arguments: list[str] | None = None) -> ServerOptions:
    """Parse arguments and return the server's options; None parses the arguments of the command line.

    Raises:
        ServeError: no model is given, or a file named by a flag is missing or malformed.
        SystemExit: as for `parse_arguments`.
    """
    return to_options(parse_arguments(arguments))


def to_options(flags: argparse.Namespace) -> ServerOptions:
    """Return the server's options for parsed flags; see `parse_flags`."""
    monitoring = flags.monitoring_config_file
    needs_rest = [name for name, is_set in (("--ui", flags.ui), ("--monitoring_config_file", monitoring)) if is_set]
    if needs_rest and not flags.rest_api_port:
        _logger.warning("%s has no effect without the REST API: add --rest_api_port 8501", " and ".join(needs_rest))
    return ServerOptions(
        models=_models(flags),
        model_config_file=flags.model_config_file,
        config_poll_seconds=flags.model_config_file_poll_wait_seconds,
        host=flags.host,
        port=flags.port,
        socket_path=flags.grpc_socket_path,
        rest_port=flags.rest_api_port or None,
        rest_timeout_seconds=flags.rest_api_timeout_in_ms / 1000,
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
        device=flags.device,
        threads=flags.tensorflow_intra_op_parallelism or None,
        inter_op_threads=flags.tensorflow_inter_op_parallelism or None,
        warmup=flags.enable_model_warmup,
        batching=_batching(flags),
        batch_non_bundles=bool(flags.enable_batching),
        per_version_batching=flags.enable_per_model_batching_parameters,
        limits=Limits(flags.grpc_max_threads, flags.max_message_bytes, 8 * flags.max_message_bytes),
        tensor_content=flags.enable_serialization_as_tensor_content,
        health=flags.enable_grpc_healthcheck_service,
        lame_duck_seconds=flags.lame_duck_seconds,
        log_requests=flags.log_requests,
        text_api=flags.text_api,
        text_limits=text_limits.Limits(flags.max_texts, flags.max_characters, flags.grpc_max_threads),
        api_keys_file=flags.api_keys_file,
    )


def _models(flags: argparse.Namespace) -> tuple[ModelConfig, ...]:
    # As in TensorFlow Serving, the file takes precedence over the flags for a single model.
    if flags.model_config_file is not None:
        return read_model_configs(flags.model_config_file)
    if flags.model_base_path is None:
        raise ServeError("no model to serve. Give --model_base_path, or --model_config_file for several models.")
    if not flags.model_name:
        raise ServeError("--model_name is empty. Give the name that clients use in requests.")
    return (ModelConfig(flags.model_name, flags.model_base_path),)


def _batching(flags: argparse.Namespace) -> BatchingParameters | None:
    if flags.enable_batching is False:
        return None
    path = flags.batching_parameters_file
    return BatchingParameters() if path is None else read_batching_parameters(path)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="bertbundle-serve",
        description="Serve bundles with TensorFlow Serving's gRPC and REST API. Takes --flag=value or --flag value.",
        allow_abbrev=False,
    )
    _add_models(parser.add_argument_group("models"))
    _add_loading(parser.add_argument_group("loading"))
    _add_network(parser.add_argument_group("network"))
    _add_rest(parser.add_argument_group("REST"))
    _add_text_api(parser.add_argument_group("text API"))
    _add_engine(parser.add_argument_group("engine"))
    parser.add_argument(
        "--log_format",
        choices=tuple(LOG_FORMATS),
        default="text",
        help="format of log lines on stderr (default: %(default)s)",
    )
    _add_switch(parser, "--log_requests", default=False, text="log a line per request, never with its contents")
    parser.add_argument("--version", action="version", version=f"bertbundle-serve {_version()}")
    return parser


def _add_models(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--model_name", default="default", help="name of the model (default: %(default)s)")
    group.add_argument("--model_base_path", type=flag_types.path, help="directory with one directory per version")
    group.add_argument(
        "--model_config_file", type=flag_types.path, help="several models: a ModelServerConfig in text format"
    )
    group.add_argument(
        "--model_config_file_poll_wait_seconds",
        metavar="SECONDS",
        type=flag_types.seconds,
        default=0.0,
        help="seconds between checks for changes to that file; 0 disables them (default: %(default)g)",
    )
    group.add_argument(
        "--file_system_poll_wait_seconds",
        metavar="SECONDS",
        type=flag_types.seconds,
        default=1.0,
        help="seconds between scans for new versions; 0: scan once, negative: never scan (default: %(default)g)",
    )
    _add_switch(
        group,
        "--allow_version_labels_for_unavailable_models",
        default=False,
        text="allow a new label to point to a version that is not available",
    )


def _add_loading(group: argparse._ArgumentGroup) -> None:
    _add_switch(group, "--enable_model_warmup", default=True, text="run a version's warmup requests before serving it")
    group.add_argument(
        "--num_load_threads", type=flag_types.count, default=0, help="models loaded at the same time (default: 1)"
    )
    group.add_argument(
        "--max_num_load_retries",
        type=flag_types.count,
        default=5,
        help="how many times to retry loading a version (default: %(default)s)",
    )
    group.add_argument(
        "--load_retry_interval_micros",
        metavar="MICROS",
        type=flag_types.positive_int,
        default=60_000_000,
        help="microseconds between attempts (default: %(default)s)",
    )


def _add_network(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    group.add_argument(
        "--port", type=flag_types.port, default=8500, help="gRPC port; 0 picks a free one (default: %(default)s)"
    )
    group.add_argument("--grpc_socket_path", default="", help="Unix socket for gRPC, in addition to the port")
    group.add_argument("--ssl_config_file", type=flag_types.path, help="TLS for gRPC: an SSLConfig in text format")
    group.add_argument(
        "--grpc_channel_arguments", type=flag_types.channel_arguments, default=(), help="name=value,... passed to gRPC"
    )
    group.add_argument(
        "--grpc_max_threads",
        type=flag_types.positive_count,
        default=1000,
        help="maximum number of requests in flight; further requests are refused (default: %(default)s)",
    )
    help_text = "maximum size of a request or a response in bytes (default: %(default)s)"
    group.add_argument("--max_message_bytes", type=flag_types.positive_int, default=64 << 20, help=help_text)
    _add_switch(group, "--enable_grpc_healthcheck_service", default=True, text="run the standard gRPC health service")
    group.add_argument(
        "--lame_duck_seconds",
        type=flag_types.seconds,
        default=0.0,
        help="seconds to keep serving after SIGTERM, with health status NOT_SERVING (default: %(default)g)",
    )
    _add_switch(
        group,
        "--enable_serialization_as_tensor_content",
        default=False,
        text="send outputs as tensor_content instead of the *_val fields",
    )


def _add_rest(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--rest_api_port", type=flag_types.port, default=0, help="REST port; 0 disables REST (default: %(default)s)"
    )
    group.add_argument(
        "--rest_api_timeout_in_ms",
        type=flag_types.positive_int,
        default=30_000,
        help="deadline of a request in milliseconds (default: %(default)s)",
    )
    _add_switch(
        group, "--rest_api_enable_cors_support", default=False, text="allow requests from web pages of other origins"
    )
    group.add_argument(
        "--monitoring_config_file", type=flag_types.path, help="metrics: a MonitoringConfig in text format"
    )
    _add_switch(group, "--ui", default=False, text="a web page to try the models, at / on the REST port; --text_api")


def _add_text_api(group: argparse._ArgumentGroup) -> None:
    _add_switch(group, "--text_api", default=False, text="answer texts, not only tensors, on both ports")
    text_limits.add_text_limits(group)
    group.add_argument(
        "--api_keys_file",
        type=flag_types.path,
        metavar="FILE",
        help="file with the API keys that all requests need, one a line; read again when it changes",
    )


def _add_engine(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--runtime", choices=runtime_names(), default="auto", help="inference runtime (default: %(default)s)"
    )
    group.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="bundle",
        help="precision of matrix products; bundle: as exported, bfloat16 only where it is fast (default: %(default)s)",
    )
    group.add_argument(
        "--device",
        choices=DEVICES,
        default="auto",
        help="cuda: an NVIDIA GPU (onnx, saved_model); auto: a GPU if the runtime can use one (default: %(default)s)",
    )
    group.add_argument(
        "--enable_batching",
        nargs="?",
        type=flag_types.boolean,
        const=True,
        metavar="BOOL",
        help="compute waiting requests together; true: also for models that are not bundles (default: bundles only)",
    )
    group.add_argument("--batching_parameters_file", type=flag_types.path, help="BatchingParameters in text format")
    _add_switch(
        group,
        "--enable_per_model_batching_parameters",
        default=True,
        text="use the batching_params.pbtxt in a version directory",
    )
    group.add_argument(
        "--tensorflow_intra_op_parallelism",
        metavar="THREADS",
        type=flag_types.count,
        default=0,
        help="threads per computation, in all runtimes; 0 uses all available cores (default: %(default)s)",
    )
    group.add_argument(
        "--tensorflow_inter_op_parallelism",
        metavar="THREADS",
        type=flag_types.count,
        default=0,
        help="threads for independent operations, saved_model only; 0 is TensorFlow's default (default: %(default)s)",
    )


def _add_switch(group: argparse._ActionsContainer, flag: str, *, default: bool, text: str) -> None:
    help_text = f"{text} (default: {str(default).lower()})"
    group.add_argument(
        flag, nargs="?", type=flag_types.boolean, const=True, default=default, metavar="BOOL", help=help_text
    )


def _version() -> str:
    try:
        return version("bertbundle-toolkit")
    except PackageNotFoundError:  # run from a source tree
        return "unknown"
