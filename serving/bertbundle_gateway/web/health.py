"""``/healthz`` and ``/readyz``, for Kubernetes and load balancers: without an API key and without a model's name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from bertbundle_gateway.core.probes import Readiness
from bertbundle_gateway.web.json_documents import json_response

__all__ = ["HEALTH_PATH", "READINESS_PATH", "health_response", "health_routes", "readiness_response"]

HEALTH_PATH, READINESS_PATH = "/healthz", "/readyz"


def health_response() -> Response:
    """Return the response of a process that lives."""
    return json_response({"alive": True})


def readiness_response(readiness: Readiness) -> Response:
    """Return 200, or 503 with the reason and the models that are not available."""
    if not readiness.reason:
        return json_response({"ready": True})
    return json_response({"ready": False, "reason": readiness.reason, "models": dict(readiness.obstacles)}, 503)


def health_routes(find_readiness: Callable[[], Awaitable[Readiness]]) -> tuple[BaseRoute, ...]:
    """Return the routes, for an application that is not FastAPI's."""

    async def health(http: Request) -> Response:
        del http
        return health_response()

    async def readiness(http: Request) -> Response:
        del http
        return readiness_response(await find_readiness())

    return Route(HEALTH_PATH, health, methods=["GET"]), Route(READINESS_PATH, readiness, methods=["GET"])
