"""The gateway: binds the ports, answers requests and shuts down gracefully."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from bertbundle import AsyncGrpcTransport, AsyncTransport, InputError
from bertbundle_gateway.compatible_apis.open_inference_grpc import open_inference_handler
from bertbundle_gateway.core.api_keys import ApiKeys
from bertbundle_gateway.core.metrics import GatewayMetrics
from bertbundle_gateway.core.models import Models
from bertbundle_gateway.core.servers import ServerBackend
from bertbundle_gateway.core.service import TextService
from bertbundle_gateway.grpc_api.authentication import ApiKeyInterceptor
from bertbundle_gateway.grpc_api.reflection import INFERENCE_SERVICE, descriptor_pool
from bertbundle_gateway.grpc_api.servicer import SERVICE, text_handler
from bertbundle_gateway.options import GatewayOptions
from bertbundle_gateway.ui.page import page_route
from bertbundle_gateway.web.listener import HttpListener

__all__ = ["GRACE_SECONDS", "Gateway", "run"]

GRACE_SECONDS = 10.0
"""How long to wait for in-flight requests after SIGTERM."""
_logger = logging.getLogger(__name__)
_HEALTH_NOTICE_SECONDS = 0.05
_SERVICES = (SERVICE, INFERENCE_SERVICE)
_SPARE_RPCS = 64
"""gRPC calls, such as health checks, for which there is room beside the requests."""


class Gateway:
    """A gateway. Create, `start` and `stop` it in the same event loop.

    Attributes:
        service: answers the texts.
        port: the gRPC port, once it is bound.
    """

    def __init__(self, options: GatewayOptions) -> None:
        """Create a gateway that listens after `start`.

        Raises:
            InputError: the file with the API keys is not usable.
        """
        self._options = options
        backend = ServerBackend(options.servers, self._connect, batches_in_flight=options.batches_in_flight)
        models = Models(backend, options.clients)
        self._metrics = GatewayMetrics(models.configured())
        self.service = TextService(models, options.limits, log_requests=options.log_requests, metrics=self._metrics)
        self._keys = None if options.api_keys_file is None else ApiKeys(options.api_keys_file)
        self._health = health.aio.HealthServicer()
        self._grpc = self._make_grpc_server()
        self._http: HttpListener | None = None
        self.port = 0

    @property
    def rest_port(self) -> int | None:
        """The port of the REST API; None if it is disabled."""
        return None if self._http is None else self._http.port

    async def start(self) -> None:
        """Bind the ports and answer requests. The servers behind the gateway are connected on the first request.

        Raises:
            InputError: a port is in use.
        """
        options = self._options
        self.port = self._bind()
        if options.rest_port is not None:
            tls = None if options.tls is None else options.tls.ssl_context()
            self._http = HttpListener(options.host, options.rest_port, tls)
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)
        await self._grpc.start()
        if self._http is not None:
            from bertbundle_gateway.rest_api.app import RestOptions, rest_application  # only if needed: FastAPI
            from bertbundle_gateway.rest_api.metrics_route import metrics_route

            rest_options = RestOptions(options.rest_timeout_seconds, options.cors, options.message_bytes)
            application = rest_application(self.service, self._keys, rest_options)
            application.router.routes.append(metrics_route(self._metrics, self._keys))
            if options.page:
                application.router.routes.append(page_route())
            await self._http.start(application)

    async def stop(self, grace: float = GRACE_SECONDS) -> None:
        """Report NOT_SERVING, refuse new requests, wait up to `grace` seconds for those in flight, and disconnect."""
        self.service.probes.is_stopping = True
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        await asyncio.gather(self._stop_grpc(grace), *([self._http.stop(grace)] if self._http else []))
        await self.service.close()

    async def _stop_grpc(self, grace: float) -> None:
        stopping = asyncio.ensure_future(self._grpc.stop(grace))
        await asyncio.sleep(_HEALTH_NOTICE_SECONDS)  # clients that watch the health service receive the change
        await self.service.wait_until_idle(grace)
        # Health watches never end: without this the server would wait for them until the grace period is over.
        await self._grpc.stop(None)
        await stopping

    def banner(self) -> list[str]:
        """Return the start-up lines: the addresses, and the servers behind them."""
        options, scheme = self._options, "http" if self._options.tls is None else "https"
        lines = [f"listening on {options.address(self.port)}"]
        if self.rest_port is not None:
            lines.append(f"REST on {scheme}://{options.address(self.rest_port)}")
        return [*lines, *options.servers.describe()]

    def _connect(self, address: str) -> AsyncTransport:
        return AsyncGrpcTransport(address, tls=self._options.server_tls, token=self._options.server_token)

    def _make_grpc_server(self) -> grpc.aio.Server:
        arguments = {
            "grpc.max_receive_message_length": self._options.message_bytes,
            "grpc.max_send_message_length": -1,
            # Otherwise two servers could share a port by accident, and each would get half of the requests.
            "grpc.so_reuseport": 0,
        }
        interceptors = [] if self._keys is None else [ApiKeyInterceptor(self._keys)]
        # Beyond the limit, requests are refused with a good message, after they are read. Here they are before that.
        server = grpc.aio.server(
            options=list(arguments.items()),
            interceptors=interceptors,
            maximum_concurrent_rpcs=2 * self._options.limits.requests + _SPARE_RPCS,
        )
        server.add_generic_rpc_handlers((text_handler(self.service), open_inference_handler(self.service)))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = (*_SERVICES, reflection.SERVICE_NAME, health.SERVICE_NAME)
        reflection.enable_server_reflection(names, server, pool=descriptor_pool())
        return server

    def _bind(self) -> int:
        options = self._options
        address = options.address(options.port)
        try:
            if options.tls is None:
                return int(self._grpc.add_insecure_port(address))
            return int(self._grpc.add_secure_port(address, options.tls.grpc_credentials()))
        except RuntimeError as error:
            raise InputError(
                f"cannot listen on {address}: it is in use, or not an address of this machine. Choose another --port "
                "(0 picks a free one) or --host."
            ) from error

    async def _set_health(self, status: int) -> None:
        for service in ("", *_SERVICES):
            await self._health.set(service, status)


async def run(options: GatewayOptions, announce: Callable[[str], None]) -> None:
    """Answer requests until SIGTERM or SIGINT. `announce` receives the start-up lines when the gateway is ready.

    Raises:
        InputError: the gateway cannot start.
    """
    stop = asyncio.Event()
    gateway = Gateway(options)
    try:
        await gateway.start()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        # A shell starts background jobs with SIGINT ignored, so that Ctrl-C stops the foreground job only.
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            loop.add_signal_handler(signal.SIGINT, stop.set)
        for line in gateway.banner():
            announce(line)
        await stop.wait()
        _logger.info("stopping: waiting up to %g seconds for in-flight requests", GRACE_SECONDS)
    finally:
        await gateway.stop()
