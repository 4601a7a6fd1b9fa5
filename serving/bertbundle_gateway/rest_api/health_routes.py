"""The routes ``/healthz`` and ``/readyz``, which need no key."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from bertbundle_gateway.rest_api.text_routes import STYLE
from bertbundle_gateway.web.health import HEALTH_PATH, READINESS_PATH, health_response, readiness_response
from bertbundle_gateway.web.routes import ApiContext, api_router

__all__ = ["health_router"]


class Health(BaseModel):
    """The answer of a process that lives."""

    alive: bool


class Ready(BaseModel):
    """Whether requests may be sent."""

    ready: bool
    reason: str = Field("", description="Why not.")
    models: dict[str, str] = Field({}, description="Why each model that is not available is not.")


def health_router(context: ApiContext) -> APIRouter:
    """Return the routes for Kubernetes and load balancers."""
    router, probes = api_router(context, STYLE, tag="Health", public=True), context.service.probes

    @router.get(
        HEALTH_PATH, summary="Check that the process lives", operation_id="healthz", responses={200: {"model": Health}}
    )
    async def healthz() -> Response:
        return health_response()

    @router.get(
        READINESS_PATH,
        summary="Check that all models are available and the server is not shutting down",
        operation_id="readyz",
        responses={200: {"model": Ready}, 503: {"model": Ready}},
    )
    async def readyz() -> Response:
        return readiness_response(await probes.readiness(timeout=context.options.timeout_seconds))

    return router
