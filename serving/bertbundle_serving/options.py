"""What the flags say, as one value."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from bertbundle_serving.config.batching_parameters import BatchingParameters
from bertbundle_serving.config.models import ModelConfig
from bertbundle_serving.dataplane.admission import Limits
from bertbundle_serving.errors import ServeError

__all__ = ["GRACE_SECONDS", "ServerOptions", "check_base_path"]

GRACE_SECONDS = 10.0
"""How long calls in flight may take to end after SIGTERM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """What the flags say.

    Attributes:
        models: the models to serve.
        model_config_file: where they were read; it is read again every `config_poll_seconds`, 0 for never.
        host, port: where gRPC listens; port 0 picks a free one.
        socket_path: a Unix socket where gRPC listens, too.
        rest_port: where REST listens; None for nowhere, 0 picks a free one.
        rest_seconds: the deadline of a REST request.
        cors: whether pages of other origins may use REST.
        page: whether ``/`` of the REST port is the page.
        metrics_path: where on the REST port the metrics are; None for nowhere.
        ssl_config_file: TLS for gRPC.
        channel_arguments: further arguments of gRPC by name.
        poll_seconds: time between two looks at the disk; 0 looks once, negative never looks.
        load_threads: models loaded at a time.
        load_retries, load_retry_seconds: how often a broken version is tried again, and when.
        labels_for_unavailable: whether a label may point to a version that is not available.
        runtime: a name from `runtime_names()`.
        precision: one of `PRECISIONS`.
        threads: threads of one computation; None takes the cores the process may use.
        inter_op_threads: TensorFlow's threads for independent operations; None leaves it to TensorFlow.
        warmup: whether to run a version's warmup requests before it is available.
        batching: how requests are computed together; None for not.
        batch_any: whether also those of models that are no bundles.
        model_batching: whether a version's own batching parameters count.
        limits: what is held at a time.
        tensor_content: whether answers hold ``tensor_content`` instead of the ``*_val`` fields.
        health: whether the gRPC health service is there.
        lame_duck_seconds: how long the server still answers after its health says NOT_SERVING.
        log_requests: whether each request is a line in the log.
    """

    models: tuple[ModelConfig, ...]
    model_config_file: Path | None = None
    config_poll_seconds: float = 0.0
    host: str = "127.0.0.1"
    port: int = 8500
    socket_path: str = ""
    rest_port: int | None = None
    rest_seconds: float = 30.0
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
    threads: int | None = None
    inter_op_threads: int | None = None
    warmup: bool = True
    batching: BatchingParameters | None = field(default_factory=BatchingParameters)
    batch_any: bool = False
    model_batching: bool = True
    limits: Limits = field(default_factory=Limits)
    tensor_content: bool = False
    health: bool = True
    lame_duck_seconds: float = 0.0
    log_requests: bool = False

    def __post_init__(self) -> None:
        for model in self.models:
            check_base_path(model)

    def address(self, port: int) -> str:
        """Return ``host:port``, an IPv6 host in brackets."""
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"


def check_base_path(model: ModelConfig) -> None:
    """Check that a base path can hold versions.

    Raises:
        ServeError: it is not a directory, or a version itself.
    """
    if not model.base_path.is_dir():
        raise ServeError(
            f"model {model.name} has base path {model.base_path}, which is not a directory. "
            "Give the directory that holds one directory per version."
        )
    if not os.access(model.base_path, os.R_OK | os.X_OK):
        raise ServeError(
            f"model {model.name} has base path {model.base_path}, which this user may not read. "
            "Let the user of the server read it."
        )
    if (model.base_path / "saved_model.pb").is_file() or (model.base_path / "model.onnx").is_file():
        raise ServeError(
            f"model {model.name} has base path {model.base_path}, which is a version itself. "
            f"Give the directory above it, {model.base_path.parent}."
        )
