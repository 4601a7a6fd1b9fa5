"""The server as a whole: options in, listening ports out, and an orderly end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from starlette.routing import BaseRoute

from bertbundle_serving.config.batching_parameters import BatchingParameters, model_parameters
from bertbundle_serving.config.models import ModelConfig, read_model_configs
from bertbundle_serving.config.tls import read_credentials
from bertbundle_serving.cores import available_cores
from bertbundle_serving.dataplane.admission import Front
from bertbundle_serving.dataplane.metrics import Metrics
from bertbundle_serving.dataplane.predictor import Predictor
from bertbundle_serving.engine.engine import Engine
from bertbundle_serving.errors import ServeError
from bertbundle_serving.grpc_api.handlers import MODEL_SERVICE, PREDICTION_SERVICE, generic_handlers
from bertbundle_serving.grpc_api.listener import take_port, take_socket
from bertbundle_serving.grpc_api.reflection import descriptor_pool
from bertbundle_serving.grpc_api.servicer import Servicer
from bertbundle_serving.options import GRACE_SECONDS, ServerOptions, check_base_path
from bertbundle_serving.repository.model import Loading, Model
from bertbundle_serving.repository.repository import Repository, RepositoryOptions
from bertbundle_serving.repository.version import State
from bertbundle_serving.repository.warmup import warm_up
from bertbundle_serving.rest_api.app import RestOptions, rest_application
from bertbundle_serving.rest_api.listener import WebListener
from bertbundle_serving.runtimes import RuntimeOptions, Servable, loader

__all__ = ["GRACE_SECONDS", "Server", "ServerOptions", "run"]

_NOT_BATCHED = BatchingParameters(max_execution_batch_size=1)
_NOTICE_SECONDS = 0.05
_SERVICES = ("", PREDICTION_SERVICE, MODEL_SERVICE)

_logger = logging.getLogger(__name__)


class Server:
    """One embedded server. `start`, then `stop`, in the same event loop."""

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self.metrics = Metrics()
        self._engine = Engine(
            _slots(options),
            self.metrics,
            batching=options.batching is not None,
            answer_bytes=options.limits.message_bytes,
        )
        self.repository = _repository(options)
        self.predictor = Predictor(self.repository, self._engine, self.metrics)
        self._front = Front(options.limits, self.metrics, self.repository, log_requests=options.log_requests)
        self._health = health.aio.HealthServicer()
        self._grpc = self._make_grpc()
        self._web: WebListener | None = None
        self._config_watch: asyncio.Task[None] | None = None
        self.port = 0

    @property
    def rest_port(self) -> int | None:
        """The port of the REST API, None if it has none."""
        return None if self._web is None else self._web.port

    async def start(self) -> None:
        """Take the ports, load the models, then answer.

        Raises:
            ServeError: a port is taken, a model has versions of which none loads, or a label points nowhere.
        """
        options = self._options
        self.port = self._bind()
        if options.rest_port is not None:
            self._web = WebListener(options.host, options.rest_port)
        await asyncio.get_running_loop().run_in_executor(None, self.repository.start)
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)
        await self._grpc.start()
        if self._web is not None:
            await self._web.start(self._application())
        if options.model_config_file is not None and options.config_poll_seconds > 0:
            self._config_watch = asyncio.ensure_future(self._watch_config(options.model_config_file))

    async def stop(self, grace: float = GRACE_SECONDS) -> bool:
        """Say NOT_SERVING, refuse new calls, wait up to `grace` seconds for those in flight, then unload everything.

        Tells whether a version is still being loaded: that cannot be interrupted.
        """
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        await asyncio.sleep(self._options.lame_duck_seconds)
        if self._config_watch is not None:
            self._config_watch.cancel()
        await asyncio.gather(self._stop_grpc(grace), *([self._web.stop(grace)] if self._web else []))
        self._engine.close()
        return await asyncio.get_running_loop().run_in_executor(None, self.repository.close, 1.0)

    async def _stop_grpc(self, grace: float) -> None:
        stopping = asyncio.ensure_future(self._grpc.stop(grace))
        await asyncio.sleep(_NOTICE_SECONDS)  # who watches the health reads it
        await self._front.idle(grace)
        # Streams of the health service end with the server, which must not wait for them.
        await self._grpc.stop(None)
        await stopping

    def banner(self) -> list[str]:
        """Return the start-up lines: the addresses, then what is served."""
        options = self._options
        lines = [f"listening on {options.address(self.port)}"]
        if self.rest_port is not None:
            lines.append(f"REST on http://{options.address(self.rest_port)}")
        if options.socket_path:
            lines.append(f"listening on unix:{options.socket_path}")
        return [*lines, *(line for model in self.repository.models.values() for line in _lines(model))]

    def _make_grpc(self) -> grpc.aio.Server:
        limit = self._options.limits.message_bytes
        arguments = {
            "grpc.max_receive_message_length": limit,
            "grpc.max_send_message_length": -1,
            # Two servers that share a port by accident would each get half of the calls.
            "grpc.so_reuseport": 0,
            **dict(self._options.channel_arguments),
        }
        server = grpc.aio.server(options=list(arguments.items()))
        servicer = Servicer(self.predictor, tensor_content=self._options.tensor_content)
        server.add_generic_rpc_handlers(generic_handlers(servicer, self._front))
        names = [PREDICTION_SERVICE, MODEL_SERVICE, reflection.SERVICE_NAME]
        if self._options.health:
            health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
            names.append(health.SERVICE_NAME)
        reflection.enable_server_reflection(names, server, pool=descriptor_pool())
        return server

    def _bind(self) -> int:
        options = self._options
        credentials = None if options.ssl_config_file is None else read_credentials(options.ssl_config_file)
        if options.socket_path:
            take_socket(self._grpc, options.socket_path)
        return take_port(self._grpc, options.host, options.port, options.address(options.port), credentials)

    def _application(self) -> object:
        options = self._options
        rest = RestOptions(options.rest_seconds, options.cors, options.metrics_path, options.limits.message_bytes)
        return rest_application(self.predictor, self._front, self.metrics, rest, self._page())

    def _page(self) -> tuple[BaseRoute, ...]:
        if not self._options.page:
            return ()
        # Not earlier: only the page needs the tokenizer.
        from bertbundle_serving.ui.page import page_routes

        return tuple(page_routes(self.predictor, self._front, self._options.rest_seconds))

    async def _set_health(self, status: int) -> None:
        for service in _SERVICES:
            await self._health.set(service, status)

    async def _watch_config(self, path: Path) -> None:
        """Read the model_config_file again and again; what is wrong with a new one is logged, the old one stays."""
        loop, models = asyncio.get_running_loop(), self._options.models
        seen = b""  # the file may have changed since the models were read from it
        while True:
            await asyncio.sleep(self._options.config_poll_seconds)
            try:
                text = await loop.run_in_executor(None, path.read_bytes)
                if text != seen:
                    seen = text
                    models = await loop.run_in_executor(None, self._reconfigure, path, models)
            except (ServeError, OSError) as error:
                _logger.error("the models stay as they are: %s", error)

    def _reconfigure(self, path: Path, before: tuple[ModelConfig, ...]) -> tuple[ModelConfig, ...]:
        """Serve the models of a file, unless they are those before; return them."""
        models = read_model_configs(path)
        if models != before:
            self.repository.reconfigure(models)
            _logger.info("serving the models of the changed %s", path)
        return models


def _slots(options: ServerOptions) -> int | None:
    return 4 * available_cores() if options.batching is None else options.batching.num_batch_threads


def _repository(options: ServerOptions) -> Repository:
    runtime_options = RuntimeOptions(options.threads, options.inter_op_threads, options.batch_any, options.precision)
    load_directory = loader(options.runtime, runtime_options)

    def load(directory: Path) -> Servable:
        servable = load_directory(directory)
        try:
            if options.warmup:
                warm_up(servable, directory)
        except Exception:
            servable.close()
            raise
        return servable

    def batching(directory: Path) -> BatchingParameters:
        common = options.batching or _NOT_BATCHED
        return model_parameters(directory, common) if options.batching and options.model_batching else common

    keep = RepositoryOptions(options.poll_seconds, options.load_threads, options.labels_for_unavailable)
    loading = Loading(load, batching, options.load_retries, options.load_retry_seconds, check_base_path)
    return Repository(options.models, loading, keep)


def _lines(model: Model) -> list[str]:
    lines = []
    for status in model.statuses():
        version = model.acquire(status.version) if status.state == State.AVAILABLE else None
        if version is not None:
            lines.append(f"model {model.config.name} version {version.number} {version.servable.description}")
            version.release()
    return lines or [
        f"model {model.config.name} waits for {model.config.policy.wanted(())} in {model.config.base_path}"
    ]


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
        loading = await server.stop()
    if loading:
        # A version is being loaded in a thread that nothing can end but the end of the process.
        logging.shutdown()
        os._exit(0)
