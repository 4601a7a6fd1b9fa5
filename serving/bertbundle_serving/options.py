"""The options of a server, as the flags set them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from bertbundle_gateway.core.limits import Limits as TextLimits
from bertbundle_serving.config.batching_parameters import BatchingParameters
from bertbundle_serving.config.models import ModelConfig
from bertbundle_serving.dataplane.admission import Limits
from bertbundle_serving.errors import ServeError

__all__ = ["GRACE_SECONDS", "ServerOptions", "check_base_path"]

GRACE_SECONDS = 10.0
"""How long to wait for in-flight requests after SIGTERM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """The options of a server.

    Attributes:
        models: the models to serve.
        model_config_file: the file that lists the models, if they come from a file.
        config_poll_seconds: time between checks for changes to that file; 0 disables them.
        host, port: address of the gRPC server; port 0 picks a free one.
        socket_path: Unix socket of the gRPC server, in addition to the port; empty for none.
        rest_port: port of the REST server; None disables REST, 0 picks a free port.
        rest_timeout_seconds: deadline of a REST request.
        cors: whether web pages of other origins may send REST requests.
        page: whether the REST server serves the web page at ``/``, which uses the text API.
        metrics_path: URL path of the metrics on the REST port; None disables them.
        ssl_config_file: TLS configuration for gRPC.
        channel_arguments: additional gRPC channel arguments, as (name, value).
        poll_seconds: time between scans for new versions; 0: scan once, negative: never scan.
        load_threads: number of models that are loaded at the same time.
        load_retries, load_retry_seconds: how many times to retry loading a version, and the time between attempts.
        labels_for_unavailable: whether a new label may point to a version that is not available.
        runtime: a name from `runtime_names()`.
        precision: one of `PRECISIONS`.
        device: one of `DEVICES`.
        threads: threads per computation; None uses all available cores.
        inter_op_threads: TensorFlow's threads for independent operations; None is TensorFlow's default.
        warmup: whether to run a version's warmup requests before it is available.
        batching: how calls are batched; None disables batching.
        batch_non_bundles: whether calls to models that are not bundles are batched, too.
        per_version_batching: whether versions may have their own batching parameters.
        limits: limits on requests.
        tensor_content: whether responses use ``tensor_content`` instead of the ``*_val`` fields.
        health: whether to run the gRPC health service.
        lame_duck_seconds: how long to keep serving after the health service reports NOT_SERVING.
        log_requests: whether to log a line for each request.
        text_api: whether both ports also have the text API.
        text_limits: limits of its requests.
        api_keys_file: file with the keys that all requests need, except health checks and reflection; None for no keys.
    """

    models: tuple[ModelConfig, ...]
    model_config_file: Path | None = None
    config_poll_seconds: float = 0.0
    host: str = "127.0.0.1"
    port: int = 8500
    socket_path: str = ""
    rest_port: int | None = None
    rest_timeout_seconds: float = 30.0
    cors: bool = False
    page: bool = False
    metrics_path: str | None = None
    ssl_config_file: Path | None = None
    channel_arguments: tuple[tuple[str, int | str], ...] = ()
    poll_seconds: float = 1.0
    load_threads: int = 1
    load_retries: int = 5
    load_retry_seconds: float = 60.0
    labels_for_unavailable: bool = False
    runtime: str = "auto"
    precision: str = "bundle"
    device: str = "auto"
    threads: int | None = None
    inter_op_threads: int | None = None
    warmup: bool = True
    batching: BatchingParameters | None = field(default_factory=BatchingParameters)
    batch_non_bundles: bool = False
    per_version_batching: bool = True
    limits: Limits = field(default_factory=Limits)
    tensor_content: bool = False
    health: bool = True
    lame_duck_seconds: float = 0.0
    log_requests: bool = False
    text_api: bool = False
    text_limits: TextLimits = field(default_factory=TextLimits)
    api_keys_file: Path | None = None

    def __post_init__(self) -> None:
        for model in self.models:
            check_base_path(model)

    def address(self, port: int) -> str:
        """Return ``host:port``, with brackets around an IPv6 host."""
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"


def check_base_path(model: ModelConfig) -> None:
    """Check that a model's base path can contain versions.

    Raises:
        ServeError: it is not a directory, cannot be read, or is a version directory itself.
    """
    if not model.base_path.is_dir():
        raise ServeError(
            f"model {model.name} has base path {model.base_path}, which is not a directory. "
            "Give the directory that contains one directory per version."
        )
    if not os.access(model.base_path, os.R_OK | os.X_OK):
        raise ServeError(
            f"model {model.name} has base path {model.base_path}, which the server's user may not read. "
            "Allow that user to read it."
        )
    if (model.base_path / "saved_model.pb").is_file() or (model.base_path / "model.onnx").is_file():
        raise ServeError(
            f"model {model.name} has base path {model.base_path}, which is a version directory. "
            f"Give its parent directory, {model.base_path.parent}."
        )
    if any((model.base_path / name).is_file() for name in ("config.json", "bert_config.json")):
        raise ServeError(
            f"model {model.name} has base path {model.base_path}, which is a checkpoint. Export it with "
            f"bertbundle-export, and give the directory models/NAME that it writes."
        )
