"""The flags of `bertbundle-serve`: TensorFlow Serving's names where it has them."""

from __future__ import annotations

import argparse
import math
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bertbundle.command import LineParser
from bertbundle.errors import ServeError
from bertbundle_serving.config import ModelConfig, read_model_configs
from bertbundle_serving.runtimes import runtime_names
from bertbundle_serving.server import ServerOptions

__all__ = ["parse_flags"]

_MOST = 4096
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def parse_flags(arguments: list[str] | None = None) -> ServerOptions:
    """Return the options that the flags give; None takes the command line's.

    Raises:
        ServeError: a model is missing, or its configuration is malformed.
        SystemExit: a flag is unknown or malformed, or asks for help or the version.
    """
    flags = _parser().parse_args(arguments)
    return ServerOptions(
        models=_models(flags),
        host=flags.host,
        port=flags.port,
        poll_seconds=flags.file_system_poll_wait_seconds,
        runtime=flags.runtime,
        threads=flags.tensorflow_intra_op_parallelism or None,
        warmup=flags.enable_model_warmup,
        grpc_max_threads=flags.grpc_max_threads,
        tensor_content=flags.enable_serialization_as_tensor_content,
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


def _parser() -> argparse.ArgumentParser:
    parser = LineParser(
        prog="bertbundle-serve",
        description="Serve bundles with TensorFlow Serving's gRPC API. Takes --flag=value and --flag value.",
        allow_abbrev=False,
    )
    _add_models(parser.add_argument_group("models"))
    _add_network(parser.add_argument_group("network"))
    _add_engine(parser.add_argument_group("engine"))
    parser.add_argument("--version", action="version", version=f"bertbundle-serve {_version()}")
    return parser


def _add_models(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--model_name", default="default", help="name of the model (default: %(default)s)")
    group.add_argument("--model_base_path", type=_path, help="directory with one directory per version")
    group.add_argument("--model_config_file", type=_path, help="several models: a ModelServerConfig in text form")
    group.add_argument(
        "--file_system_poll_wait_seconds",
        type=_seconds,
        default=1.0,
        help="seconds between two looks for new versions; 0 looks once, negative never (default: %(default)g)",
    )
    _add_switch(group, "--enable_model_warmup", default=True, text="run a version's warmup requests before it serves")


def _add_network(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    group.add_argument("--port", type=_port, default=8500, help="0 picks a free one (default: %(default)s)")
    _add_switch(
        group,
        "--enable_serialization_as_tensor_content",
        default=False,
        text="answer with tensor_content instead of the *_val fields",
    )


def _add_engine(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--runtime", choices=runtime_names(), default="auto", help="(default: %(default)s)")
    group.add_argument("--grpc_max_threads", type=_positive, help="computations at a time (default: 4 x cores)")
    group.add_argument(
        "--tensorflow_intra_op_parallelism",
        type=_count,
        default=0,
        help="threads of one computation, ONNX too; 0 takes the cores the process may use (default: %(default)s)",
    )


def _add_switch(group: argparse._ArgumentGroup, flag: str, *, default: bool, text: str) -> None:
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


def _seconds(text: str) -> float:
    seconds = float(text)
    if not math.isfinite(seconds):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds


def _count(text: str) -> int:
    # A thread takes memory and time to end: what is mistyped must not take the machine with it.
    if not (text.isascii() and text.isdigit()) or int(text) > _MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to {_MOST}")
    return int(text)


def _positive(text: str) -> int:
    if _count(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {_MOST}")
    return int(text)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0 to 65535")
    return int(text)


def _version() -> str:
    try:
        return version("bertbundle-toolkit")
    except PackageNotFoundError:  # run from a source tree
        return "unknown"
