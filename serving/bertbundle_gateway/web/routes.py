"""The routes of all REST APIs: JSON, API keys, deadlines, and each API's errors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from bertbundle_gateway.core.api_keys import ApiKeys
from bertbundle_gateway.core.errors import HTTP_STATUS, RequestError
from bertbundle_gateway.core.request_observer import deadline
from bertbundle_gateway.core.service import TextService
from bertbundle_gateway.web.bodies import BodyBudget, ErrorCarrier, JsonRequest
from bertbundle_gateway.web.json_documents import json_response
from bertbundle_gateway.web.validation import validation_error

__all__ = ["ApiContext", "ErrorStyle", "RestOptions", "api_router", "error_response", "http_status"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RestOptions:
    """Options of the REST APIs.

    Attributes:
        timeout_seconds: deadline of a request.
        cors: whether web pages of other origins may send requests.
        max_body_bytes: maximum size of a request body.
    """

    timeout_seconds: float = 30.0
    cors: bool = False
    max_body_bytes: int = 16 << 20

    @property
    def max_bodies_bytes(self) -> int:
        """Maximum size of the bodies of all requests in flight together: that of four large ones."""
        return 4 * self.max_body_bytes


@dataclass(frozen=True, slots=True)
class ApiContext:
    """What the routes of all APIs need.

    Attributes:
        service: answers the texts.
        options: options of the APIs.
        keys: the keys that callers need; None for no keys.
        bodies: counts the bytes of the request bodies in memory.
    """

    service: TextService
    options: RestOptions
    keys: ApiKeys | None
    bodies: BodyBudget


def http_status(error: RequestError) -> int:
    """Return the HTTP status of an error.

    >>> http_status(RequestError("NOT_FOUND", "MODEL_NOT_FOUND", "There is no model 'x'."))
    404
    """
    return HTTP_STATUS.get(error.code, 500)


@dataclass(frozen=True, slots=True)
class ErrorStyle:
    """How an API answers a request that failed.

    Attributes:
        document: returns the JSON document of an error and its HTTP status.
        status: returns the HTTP status of an error.
    """

    document: Callable[[RequestError, int], Mapping[str, Any]]
    status: Callable[[RequestError], int] = http_status


def error_response(error: RequestError, style: ErrorStyle) -> Response:
    """Return the response for an error."""
    status = style.status(error)
    response = json_response(style.document(error, status), status)
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def api_router(
    context: ApiContext,
    style: ErrorStyle,
    *,
    tag: str,
    public: bool = False,
    json_size: Callable[[Request], int | None] = lambda _: None,
) -> APIRouter:
    """Return a router for routes of one API.

    Args:
        context: keys and options.
        style: the API's errors.
        tag: the name of the API in the OpenAPI document.
        public: whether callers need no key even if there are keys.
        json_size: returns how many bytes at the beginning of a request's body are its JSON document; None for all.
    """
    options, keys = context.options, None if public else context.keys

    class ApiRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def answer(request: Request) -> Response:
                try:
                    if keys is not None:
                        keys.authorize(request.headers.get("authorization"), request.headers.get("x-api-key"))
                    with context.bodies.count() as count, deadline(options.timeout_seconds):
                        json_request = JsonRequest(request, options.max_body_bytes, count, json_size(request))
                        return await asyncio.wait_for(_answer(handle, json_request), options.timeout_seconds)
                except ClientDisconnect:
                    return Response(status_code=499)  # nobody receives it
                except Exception as error:  # noqa: BLE001 - every error has the form of the API
                    return error_response(_request_error(error, self), style)

            return answer

    return APIRouter(route_class=ApiRoute, tags=[tag])


async def _answer(handle: Callable[[Request], Coroutine[Any, Any, Response]], request: Request) -> Response:
    """Return the response to a request; when the client disconnects, what computes it is cancelled.

    Raises:
        ClientDisconnect: the client has disconnected.
    """
    await request.body()
    answer, disconnect = asyncio.ensure_future(handle(request)), asyncio.ensure_future(_wait_for_disconnect(request))
    try:
        await asyncio.wait({answer, disconnect}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientDisconnect
        return answer.result()
    finally:
        answer.cancel()
        disconnect.cancel()


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _request_error(error: Exception, route: APIRoute) -> RequestError:
    if isinstance(error, RequestError):
        return error
    if isinstance(error, ErrorCarrier):
        return error.error
    if isinstance(error, asyncio.TimeoutError):
        return RequestError("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", "There was no answer within the timeout.")
    if isinstance(error, RequestValidationError):
        field = route.body_field
        body: Any = None if field is None else field.field_info.annotation
        return validation_error(error.errors(), body)
    _logger.error("a request failed", exc_info=error)
    return RequestError("INTERNAL", "INTERNAL", "Internal error. The log here has the details.")
