"""The route of the gateway's metrics. The embedded server, which has these REST APIs too, has a route of its own."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from bertbundle_gateway.core.api_keys import ApiKeys
from bertbundle_gateway.core.errors import RequestError
from bertbundle_gateway.core.metrics import CONTENT_TYPE, GatewayMetrics
from bertbundle_gateway.rest_api.text_routes import STYLE
from bertbundle_gateway.web.routes import error_response

__all__ = ["METRICS_PATH", "metrics_route"]

METRICS_PATH = "/monitoring/prometheus/metrics"
"""The path in TensorFlow Serving's example of a monitoring configuration, and in that of the embedded server."""


def metrics_route(metrics: GatewayMetrics, keys: ApiKeys | None) -> BaseRoute:
    """Return the route. It needs a key if there are keys, because metrics name the models."""

    async def show(http: Request) -> Response:
        try:
            if keys is not None:
                keys.authorize(http.headers.get("authorization"), http.headers.get("x-api-key"))
        except RequestError as error:
            return error_response(error, STYLE)
        exposition = await asyncio.to_thread(metrics.exposition)  # 40 ms for 50 models
        return Response(exposition, media_type=CONTENT_TYPE)

    return Route(METRICS_PATH, show, methods=["GET"])
