"""The text API of this server: the gateway's, over the models of this process."""

from __future__ import annotations

from typing import Any

from starlette.routing import BaseRoute

from bertbundle_gateway.compatible_apis.open_inference_grpc import open_inference_handler
from bertbundle_gateway.core.api_keys import ApiKeys
from bertbundle_gateway.core.service import TextService
from bertbundle_gateway.grpc_api.reflection import INFERENCE_SERVICE
from bertbundle_gateway.grpc_api.servicer import SERVICE, text_handler
from bertbundle_gateway.rest_api.app import RestOptions, text_routes
from bertbundle_serving.options import ServerOptions

__all__ = ["TextApi"]


class TextApi:
    """The text API of a server, on both of its ports.

    Attributes:
        service_names: the names of the gRPC services.
    """

    service_names = (SERVICE, INFERENCE_SERVICE)

    def __init__(self, service: TextService, keys: ApiKeys | None) -> None:
        """Answer texts with a service; `keys` are those that REST requests need."""
        self._service = service
        self._keys = keys

    def handlers(self) -> tuple[Any, ...]:
        """Return the generic gRPC handlers."""
        return text_handler(self._service), open_inference_handler(self._service)

    def routes(self, options: ServerOptions) -> list[BaseRoute]:
        """Return the REST routes."""
        rest_options = RestOptions(options.rest_timeout_seconds, options.cors, options.limits.message_bytes)
        return text_routes(self._service, self._keys, rest_options)
