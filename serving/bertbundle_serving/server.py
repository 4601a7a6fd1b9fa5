"""The server: binds the ports, loads the models, serves requests and shuts down gracefully."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from starlette.responses import Response
from starlette.types import ASGIApp

from bertbundle._shared.cores import available_cores
from bertbundle_gateway.core.api_keys import ApiKeys
from bertbundle_gateway.core.errors import RequestError as KeyRefusal
from bertbundle_gateway.grpc_api.authentication import ApiKeyInterceptor
from bertbundle_gateway.ui.page import page_route
from bertbundle_gateway.web.health import health_routes
from bertbundle_gateway.web.keys import KeyMiddleware
from bertbundle_gateway.web.listener import HttpListener
from bertbundle_gateway.web.model_documents import models_document
from bertbundle_serving.config.tls import read_credentials
from bertbundle_serving.config.watcher import watch_model_configs
from bertbundle_serving.dataplane.admission import AdmissionControl
from bertbundle_serving.dataplane.metrics import Metrics
from bertbundle_serving.engine.engine import Engine, EngineObserver
from bertbundle_serving.grpc_api.listener import bind_port, bind_socket
from bertbundle_serving.grpc_api.reflection import descriptor_pool
from bertbundle_serving.grpc_api.servicer import Servicer
from bertbundle_serving.grpc_api.services import SERVICES
from bertbundle_serving.loading import make_repository
from bertbundle_serving.options import GRACE_SECONDS, ServerOptions
from bertbundle_serving.repository.model import Model
from bertbundle_serving.rest_api.app import RestOptions, RestParts, rest_application
from bertbundle_serving.rest_api.responses import json_response
from bertbundle_serving.rest_api.startup import StartupGate
from bertbundle_serving.text_service import make_text_service

if TYPE_CHECKING:
    from bertbundle_serving.text_api import TextApi

__all__ = ["GRACE_SECONDS", "Server", "ServerOptions", "run"]

_PROPAGATION_SECONDS = 0.05
_UNLOAD_SECONDS = 1.0

_logger = logging.getLogger(__name__)


class Server:
    """An embedded server. Call `start`, then `stop`, in the same event loop.

    Attributes:
        metrics: its metrics.
        repository: its models.
        engine: computes calls.
        admission: limits and records requests.
        servicer: implements the gRPC methods.
        port: the gRPC port, once it is bound.
    """

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self.metrics = Metrics(lambda: self.repository.models.values())
        self.repository = make_repository(options, self.metrics.serving)
        self.engine = Engine(
            _number_of_slots(options),
            (self.metrics, *_tracers()),
            batching=options.batching is not None,
            max_output_bytes=options.limits.message_bytes,
        )
        self.admission = AdmissionControl(
            options.limits, self.metrics, self.repository, log_requests=options.log_requests
        )
        self.servicer = Servicer(self.repository, self.engine, self.admission, tensor_content=options.tensor_content)
        self._text_service = make_text_service(self.repository, self.engine, self.admission, options)
        self._keys = None if options.api_keys_file is None else ApiKeys(options.api_keys_file)
        self._text_api = self._make_text_api()
        self._health = health.aio.HealthServicer()
        self._grpc = self._make_grpc_server()
        self._http: HttpListener | None = None
        self._loaded = asyncio.Event()
        self._config_watcher: asyncio.Task[None] | None = None
        self.port = 0

    @property
    def rest_port(self) -> int | None:
        """The port of the REST API; None if it is disabled."""
        return None if self._http is None else self._http.port

    async def start(self) -> None:
        """Bind the ports, load the models, then serve requests. The REST port answers for the health from the start.

        Raises:
            ServeError: a port is in use, none of a model's versions loads, or a label points to an unavailable version.
        """
        options = self._options
        self.port = self._bind_grpc()
        if options.rest_port is not None:
            self._http = HttpListener(options.host, options.rest_port)
            await self._http.start(self.make_rest_application())
        await asyncio.to_thread(self.repository.start)
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)
        await self._grpc.start()
        self._loaded.set()
        if options.model_config_file is not None and options.config_poll_seconds > 0:
            self._config_watcher = asyncio.ensure_future(
                watch_model_configs(
                    options.model_config_file,
                    options.models,
                    options.config_poll_seconds,
                    self.repository.reconfigure,
                )
            )

    async def stop(self, grace: float = GRACE_SECONDS) -> bool:
        """Report NOT_SERVING, refuse new requests, wait up to `grace` seconds for in-flight ones, unload all models.

        Return whether a version is still loading, which cannot be interrupted.
        """
        has_served = self._loaded.is_set()
        self._text_service.probes.is_stopping = True
        self._loaded.set()
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        await asyncio.sleep(self._options.lame_duck_seconds if has_served else 0)
        if self._config_watcher is not None:
            self._config_watcher.cancel()
        await asyncio.gather(self._stop_grpc(grace), *([self._http.stop(grace)] if self._http else []))
        self.engine.close()
        return await asyncio.to_thread(self.repository.close, _UNLOAD_SECONDS)

    async def _stop_grpc(self, grace: float) -> None:
        stopping = asyncio.ensure_future(self._grpc.stop(grace))
        await asyncio.sleep(_PROPAGATION_SECONDS)  # clients that watch the health service receive the change
        await asyncio.gather(self.admission.wait_until_idle(grace), self._text_service.wait_until_idle(grace))
        await asyncio.sleep(_PROPAGATION_SECONDS)  # the last responses are being sent
        # Health watches never end: without this the server would wait for them until the grace period is over.
        await self._grpc.stop(None)
        await stopping

    def banner(self) -> list[str]:
        """Return the start-up lines: the addresses, then the available versions."""
        options = self._options
        lines = [f"listening on {options.address(self.port)}"]
        if self.rest_port is not None:
            lines.append(f"REST on http://{options.address(self.rest_port)}")
        if options.socket_path:
            lines.append(f"listening on unix:{options.socket_path}")
        return [*lines, *(line for model in self.repository.models.values() for line in _describe_model(model))]

    def make_rest_application(self) -> ASGIApp:
        """Return the ASGI application of the REST API, with the web page if it is enabled."""
        options = self._options
        rest_options = RestOptions(
            options.rest_timeout_seconds, options.cors, options.metrics_path, options.limits.message_bytes
        )
        text_routes = [] if self._text_api is None else self._text_api.routes(options)
        service = self._text_service
        health = health_routes(lambda: service.probes.readiness(timeout=options.rest_timeout_seconds))
        routes = (*health, *([page_route()] if options.page else []), *text_routes)
        parts = RestParts(self.repository, self.engine, self.admission, lambda: models_document(service))
        application: ASGIApp = rest_application(parts, self.metrics, rest_options, routes)
        if self._keys is not None:
            refuse = functools.partial(_refuse_key, cors=options.cors)
            application = KeyMiddleware(application, self._keys, refuse, except_for=routes)
        return StartupGate(application, self._loaded, lambda: service.probes.is_stopping, except_for=health)

    def _make_text_api(self) -> TextApi | None:
        if not (self._options.text_api or self._options.page):
            return None
        from bertbundle_serving.text_api import TextApi  # only if needed: it imports FastAPI

        return TextApi(self._text_service, self._keys)

    def _make_grpc_server(self) -> grpc.aio.Server:
        arguments = {
            "grpc.max_receive_message_length": self._options.limits.message_bytes,
            "grpc.max_send_message_length": -1,
            # Otherwise two servers could share a port by accident, and each would get half of the requests.
            "grpc.so_reuseport": 0,
            **dict(self._options.channel_arguments),
        }
        interceptors = [] if self._keys is None else [ApiKeyInterceptor(self._keys)]
        server = grpc.aio.server(options=list(arguments.items()), interceptors=interceptors)
        server.add_generic_rpc_handlers(self.servicer.handlers())
        if self._text_api is not None:
            server.add_generic_rpc_handlers(self._text_api.handlers())
        names = [*self._services(), reflection.SERVICE_NAME]
        if self._options.health:
            health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
            names.append(health.SERVICE_NAME)
        reflection.enable_server_reflection(names, server, pool=descriptor_pool())
        return server

    def _services(self) -> list[str]:
        return [*SERVICES] if self._text_api is None else [*SERVICES, *self._text_api.service_names]

    def _bind_grpc(self) -> int:
        options = self._options
        credentials = None if options.ssl_config_file is None else read_credentials(options.ssl_config_file)
        if options.socket_path:
            bind_socket(self._grpc, options.socket_path)
        return bind_port(self._grpc, options.host, options.port, options.address(options.port), credentials)

    async def _set_health(self, status: int) -> None:
        for service in ("", *self._services()):
            await self._health.set(service, status)


async def run(options: ServerOptions, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT. `announce` receives the start-up lines when the server is ready.

    Raises:
        ServeError: the server cannot start.
    """
    stop = asyncio.Event()
    server = Server(options)
    try:
        await server.start()
        _handle_signals(stop)
        for line in server.banner():
            announce(line)
        await stop.wait()
        _logger.info("stopping: waiting up to %g seconds for in-flight requests", GRACE_SECONDS)
    finally:
        is_loading = await server.stop()
    if is_loading:
        # The thread that loads a version cannot be interrupted, and a normal exit would wait for it.
        logging.shutdown()
        os._exit(0)


def _refuse_key(error: KeyRefusal, *, cors: bool) -> Response:
    return json_response({"error": error.message}, 401, cors=cors)


def _handle_signals(stop: asyncio.Event) -> None:
    """Set `stop` on SIGTERM and SIGINT.

    Before the server is ready there are no requests to wait for: signals then end the process at once, however long a
    model takes to load.
    """
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    # A shell starts background jobs with SIGINT ignored, so that Ctrl-C stops the foreground job only.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGINT, stop.set)


def _number_of_slots(options: ServerOptions) -> int | None:
    return 4 * available_cores() if options.batching is None else options.batching.num_batch_threads


def _tracers() -> tuple[EngineObserver, ...]:
    """Return the observer that adds spans to traces if the process runs under OpenTelemetry."""
    try:
        from opentelemetry import trace
    except ImportError:  # also if only other distributions of the namespace are installed
        return ()
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):  # nobody has set a provider
        return ()
    from bertbundle_serving.dataplane.tracing import EngineTracer

    return (EngineTracer(),)


def _describe_model(model: Model) -> list[str]:
    """Return a line for each available version, newest first, or one line that says what the model is waiting for."""
    name, versions = model.config.name, sorted(model.versions.items(), reverse=True)
    if not versions:
        return [f"model {name} waits for {model.config.policy.describe_missing(())} in {model.config.base_path}"]
    return [f"model {name} version {number} {version.servable.description}" for number, version in versions]
