"""Require API keys for the calls of a gRPC server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio

from bertbundle_gateway.core.api_keys import ApiKeys
from bertbundle_gateway.core.errors import RequestError
from bertbundle_gateway.grpc_api.reflection import INFERENCE_SERVICE
from bertbundle_gateway.grpc_api.status import failing_handler

__all__ = ["ApiKeyInterceptor"]

_OPEN = (
    "/grpc.health.",
    "/grpc.reflection.",
    f"/{INFERENCE_SERVICE}/Server",  # ServerLive, ServerReady, ServerMetadata
    f"/{INFERENCE_SERVICE}/ModelReady",
)
"""Probes have no keys, and the names of the methods are public."""


class ApiKeyInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc, unused-ignore] # grpc has no annotations
    """Refuses calls without a valid key, except health checks and reflection."""

    def __init__(self, keys: ApiKeys) -> None:
        """Require one of the keys."""
        self._keys = keys

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        """Return the handler of a call, or one that fails it."""
        if not details.method.startswith(_OPEN):
            metadata = {name: value for name, value in details.invocation_metadata if isinstance(value, str)}
            try:
                self._keys.authorize(metadata.get("authorization"), metadata.get("x-api-key"))
            except RequestError as error:
                return failing_handler(error)
        return await continuation(details)
