"""From the bytes of a gRPC request to the bytes of its response, with the status of an error."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message

from bertbundle_gateway.core.errors import RequestError, invalid_request
from bertbundle_gateway.core.request_observer import deadline
from bertbundle_gateway.grpc_api.status import abort

__all__ = ["Method", "aborting", "parse", "unary_handler"]

_logger = logging.getLogger(__name__)

Method = Callable[[Any, "float | None"], Awaitable[Message]]
"""Returns the response to a request, for which there may be a number of seconds."""


def unary_handler(request_type: Any, method: Method) -> Any:
    """Return the handler of a method that has one request and one response."""

    async def handle(data: bytes, context: Any) -> bytes:
        seconds = context.time_remaining()
        async with aborting(context):
            with deadline(seconds):
                return (await method(parse(request_type, data), seconds)).SerializeToString()
        raise AssertionError  # not reached: an error has aborted the call

    return grpc.unary_unary_rpc_method_handler(handle)


@contextlib.asynccontextmanager
async def aborting(context: Any) -> AsyncIterator[None]:
    """End the call with the status of an error; what is not foreseen is logged."""
    try:
        yield
    except RequestError as error:
        await abort(context, error)
    except (grpc.aio.AbortError, asyncio.CancelledError):
        raise
    except Exception:  # a bug in one request must not stop the server
        _logger.exception("a request failed")
        message = "Internal error. The log here has the details."
        await abort(context, RequestError("INTERNAL", "INTERNAL", message))


def parse(request_type: Any, data: bytes) -> Any:
    """Parse a request.

    Raises:
        RequestError: it is malformed, has a string that is not UTF-8, or a field that this server does not know.
    """
    try:
        request = request_type.FromString(data)
    except DecodeError as error:
        name = request_type.DESCRIPTOR.name
        message = f"The request is not a valid {name} message. Strings must be UTF-8."
        raise invalid_request("MALFORMED_REQUEST", message) from error
    size = request.ByteSize()
    request.DiscardUnknownFields()
    if request.ByteSize() != size:
        message = "The request has fields that this server does not know. Upgrade the server, or leave them out."
        raise invalid_request("UNKNOWN_FIELD", message)
    return request
