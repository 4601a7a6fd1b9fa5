"""The server as a whole: options in, a listening port out, and an orderly end."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio

from bertbundle.errors import ServeError
from bertbundle_serving.config import ModelConfig
from bertbundle_serving.cores import available_cores
from bertbundle_serving.engine import Engine
from bertbundle_serving.model import Model
from bertbundle_serving.repository import Repository
from bertbundle_serving.runtimes import RuntimeOptions, Servable, loader
from bertbundle_serving.servicer import Servicer
from bertbundle_serving.services import generic_handlers
from bertbundle_serving.version import State
from bertbundle_serving.warmup import warm_up

__all__ = ["GRACE_SECONDS", "Server", "ServerOptions", "run"]

GRACE_SECONDS = 10.0
"""How long calls in flight may take to end after SIGTERM."""

_GRPC_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Two servers that share a port by accident would each get half of the calls.
    ("grpc.so_reuseport", 0),
)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """What the flags say.

    Attributes:
        models: the models to serve.
        host, port: where to listen; port 0 picks a free one.
        poll_seconds: time between two looks at the disk; 0 looks once, negative never looks.
        runtime: a name from `runtime_names()`.
        threads: threads of one computation; None takes the cores the process may use.
        warmup: whether to run a version's warmup requests before it is available.
        grpc_max_threads: computations at a time; None takes four per core, as TensorFlow Serving does.
        tensor_content: whether answers hold ``tensor_content`` instead of the ``*_val`` fields.
    """

    models: tuple[ModelConfig, ...]
    host: str = "127.0.0.1"
    port: int = 8500
    poll_seconds: float = 1.0
    runtime: str = "auto"
    threads: int | None = None
    warmup: bool = True
    grpc_max_threads: int | None = None
    tensor_content: bool = False

    def __post_init__(self) -> None:
        for model in self.models:
            _check_base_path(model)

    def address(self, port: int) -> str:
        """Return ``host:port``, an IPv6 host in brackets."""
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"


def _check_base_path(model: ModelConfig) -> None:
    if not model.base_path.is_dir():
        raise ServeError(
            f"model {model.name} has base path {model.base_path}, which is not a directory. "
            "Give the directory that holds one directory per version."
        )
    if (model.base_path / "saved_model.pb").is_file() or (model.base_path / "model.onnx").is_file():
        raise ServeError(
            f"model {model.name} has base path {model.base_path}, which is a version itself. "
            f"Give the directory above it, {model.base_path.parent}."
        )


class Server:
    """One embedded server. `start`, then `stop`, in the same event loop."""

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self._engine = Engine(options.grpc_max_threads or 4 * available_cores())
        self.repository = _repository(options)
        self._grpc = grpc.aio.server(options=_GRPC_OPTIONS)
        servicer = Servicer(self.repository, self._engine, tensor_content=options.tensor_content)
        self._grpc.add_generic_rpc_handlers(generic_handlers(servicer))
        self.port = 0

    async def start(self) -> None:
        """Take the port, load the models, then answer.

        Raises:
            ServeError: the port is taken, a model has versions of which none loads, or a label points nowhere.
        """
        self.port = self._bind()
        if self._options.poll_seconds >= 0:
            await asyncio.get_running_loop().run_in_executor(None, self.repository.refresh)
            self.repository.check_started()
        await self._grpc.start()
        if self._options.poll_seconds > 0:
            self.repository.start_polling(self._options.poll_seconds)

    async def stop(self, grace: float = GRACE_SECONDS) -> None:
        """Refuse new calls, wait up to `grace` seconds for those in flight, then unload everything."""
        await self._grpc.stop(grace)
        self._engine.close()
        await asyncio.get_running_loop().run_in_executor(None, self.repository.close)

    def banner(self) -> list[str]:
        """Return the start-up lines: the address, then what is served."""
        return [f"listening on {self._options.address(self.port)}", *self._model_lines()]

    def _model_lines(self) -> list[str]:
        return [line for model in self.repository.models.values() for line in _lines(model)]

    def _bind(self) -> int:
        address = self._options.address(self._options.port)
        try:
            return int(self._grpc.add_insecure_port(address))
        except RuntimeError as error:
            raise ServeError(
                f"cannot listen on {address}: the port is taken or the address is not this machine's. "
                "Stop what uses it, or give another --port (0 picks a free one) or --host."
            ) from error


def _repository(options: ServerOptions) -> Repository:
    load_directory = loader(options.runtime, RuntimeOptions(threads=options.threads))

    def load(directory: Path) -> Servable:
        servable = load_directory(directory)
        if options.warmup:
            warm_up(servable, directory)
        return servable

    return Repository([Model(config, load) for config in options.models])


def _lines(model: Model) -> list[str]:
    lines = []
    for status in model.statuses():
        version = model.acquire(status.version) if status.state == State.AVAILABLE else None
        if version is not None:
            lines.append(f"model {model.config.name} version {version.number} {version.servable.description}")
            version.release()
    return lines or [f"model {model.config.name} waits for a version in {model.config.base_path}"]


async def run(options: ServerOptions, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; `announce` gets the start-up lines once requests are answered.

    Raises:
        ServeError: the server cannot start.
    """
    stop = asyncio.Event()
    server = Server(options)
    try:
        await server.start()
        # Not earlier: until the server answers there is nothing to drain, and a signal ends it at once, however long
        # a model takes to load.
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(name, stop.set)
        for line in server.banner():
            announce(line)
        await stop.wait()
        _logger.info("stopping: calls in flight have %g seconds", GRACE_SECONDS)
    finally:
        await server.stop()
