"""The ASGI application of all REST APIs, and a route that puts them into another application."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from bertbundle import __version__
from bertbundle_gateway.compatible_apis.hugging_face import hugging_face_router
from bertbundle_gateway.compatible_apis.open_inference import open_inference_health_router, open_inference_router
from bertbundle_gateway.compatible_apis.openai import openai_router
from bertbundle_gateway.compatible_apis.text_embeddings_inference import (
    text_embeddings_inference_health_router,
    text_embeddings_inference_router,
)
from bertbundle_gateway.core.api_keys import ApiKeys
from bertbundle_gateway.core.errors import RequestError
from bertbundle_gateway.core.service import TextService
from bertbundle_gateway.rest_api.health_routes import health_router
from bertbundle_gateway.rest_api.model_routes import model_router
from bertbundle_gateway.rest_api.openapi import openapi_document
from bertbundle_gateway.rest_api.reference_page import reference_router
from bertbundle_gateway.rest_api.text_routes import STYLE, text_router
from bertbundle_gateway.web.bodies import BodyBudget
from bertbundle_gateway.web.routes import ApiContext, ErrorStyle, RestOptions, error_response

__all__ = ["RestOptions", "rest_application", "text_routes"]

_DESCRIPTION = """Text in, answers out, with any client: no tokenizer on the caller's side.

A request has a list of texts, and the response has a result for each text, in order. An invalid text has an `error` as
its result and does not fail the others; if no text has a result, the status is 400. Errors never quote a text."""
_ROUTERS = (
    text_router,
    model_router,
    health_router,
    openai_router,
    hugging_face_router,
    text_embeddings_inference_router,
    text_embeddings_inference_health_router,
    open_inference_router,
    open_inference_health_router,
)


def rest_application(service: TextService, keys: ApiKeys | None, options: RestOptions) -> FastAPI:
    """Return the application.

    Args:
        service: answers the texts.
        keys: the keys that callers need; None for no keys.
        options: options of the APIs.
    """
    application = FastAPI(
        title="bertbundle text API",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,  # FastAPI's pages load scripts from other hosts
        redoc_url=None,
        openapi_url=None,
        exception_handlers={404: _refuse_path, 405: _refuse_path},
        redirect_slashes=False,
    )
    context = ApiContext(service, options, keys, BodyBudget(options.max_bodies_bytes))
    for make_router in _ROUTERS:
        application.include_router(make_router(context))
    document = openapi_document(application, has_keys=keys is not None)
    application.include_router(reference_router(document))
    if options.cors:
        application.add_middleware(
            CORSMiddleware, allow_origins=["*"], allow_methods=["GET", "POST"], allow_headers=["*"]
        )
    return application


def text_routes(service: TextService, keys: ApiKeys | None, options: RestOptions) -> list[BaseRoute]:
    """Return the routes of the application, for an application that has further ones."""
    return [_ApplicationRoute(rest_application(service, keys, options))]


async def _refuse_path(request: Request, error: Exception) -> Response:
    """Answer a request whose path or method no API has."""
    status = error.status_code if isinstance(error, HTTPException) else 404
    problem = f"has no {request.method}" if status == 405 else "does not exist"
    message = f"{_printable(request.url.path)} {problem}. GET /openapi.json lists all routes."
    return error_response(RequestError("UNIMPLEMENTED", "NO_SUCH_ROUTE", message), _style(status))


def _style(status: int) -> ErrorStyle:
    return ErrorStyle(STYLE.document, lambda _: status)


def _printable(path: str) -> str:
    return path[:80] if path.isascii() and path.isprintable() else "The path"


class _ApplicationRoute(BaseRoute):
    """An application as a route: it takes the requests whose path and method a route of the application has."""

    def __init__(self, application: FastAPI) -> None:
        self._application = application

    def matches(self, scope: Scope) -> tuple[Match, dict[str, Any]]:
        """Return whether the application answers a request."""
        is_full = scope["type"] == "http" and any(
            route.matches(scope)[0] == Match.FULL for route in self._application.routes
        )
        return (Match.FULL if is_full else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await self._application(scope, receive, send)
