"""Put the servicer behind gRPC: paths, message bytes, and what becomes of an error."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message

from bertbundle import _wire_pb2 as wire
from bertbundle_serving.errors import INTERNAL_TEXT, RequestError
from bertbundle_serving.servicer import Servicer

__all__ = ["MAX_MESSAGE", "generic_handlers", "shorten"]

# Source: tensorflow_serving/model_servers/grpc_status_util.cc, kErrorMessageLimit.
MAX_MESSAGE = 1024
_TRUNCATED = "...TRUNCATED"

_logger = logging.getLogger(__name__)

_Method = Callable[[Any], Awaitable[Message]]
_Handler = Callable[[bytes, Any], Awaitable[bytes]]


def generic_handlers(servicer: Servicer) -> tuple[Any, ...]:
    """Return the handlers to register; gRPC itself answers every other method with UNIMPLEMENTED."""
    services: dict[str, dict[str, tuple[type[Message], _Method]]] = {
        "tensorflow.serving.PredictionService": {
            "Predict": (wire.PredictRequest, servicer.predict),
            "GetModelMetadata": (wire.GetModelMetadataRequest, servicer.get_model_metadata),
        },
        "tensorflow.serving.ModelService": {
            "GetModelStatus": (wire.GetModelStatusRequest, servicer.get_model_status),
        },
    }
    return tuple(
        grpc.method_handlers_generic_handler(
            service,
            {name: grpc.unary_unary_rpc_method_handler(_handler(*method)) for name, method in methods.items()},
        )
        for service, methods in services.items()
    )


def shorten(message: str) -> str:
    """Cut a message as TensorFlow Serving does, so that it fits into the response's headers.

    >>> shorten("x" * 2000)[-14:]
    'xx...TRUNCATED'
    """
    return message if len(message) <= MAX_MESSAGE else message[:MAX_MESSAGE] + _TRUNCATED


def _handler(request_type: type[Message], method: _Method) -> _Handler:
    async def handle(data: bytes, context: Any) -> bytes:
        try:
            answer = await asyncio.wait_for(method(_parse(request_type, data)), context.time_remaining())
            return answer.SerializeToString()
        except asyncio.TimeoutError:
            status = RequestError("DEADLINE_EXCEEDED", "Timed out waiting for notification")
        except RequestError as error:
            status = _public(error)
        except Exception:  # a bug in one request must not reach its caller, nor end the server
            _logger.exception("a %s failed", request_type.DESCRIPTOR.name)
            status = RequestError("INTERNAL", INTERNAL_TEXT)
        await context.abort(grpc.StatusCode[status.code], shorten(status.message))
        raise status  # never reached: abort raises

    return handle


def _parse(request_type: type[Message], data: bytes) -> Message:
    try:
        return request_type.FromString(data)
    except DecodeError as error:
        text = f"the request is not a valid {request_type.DESCRIPTOR.name} message"
        raise RequestError("INVALID_ARGUMENT", text) from error


def _public(error: RequestError) -> RequestError:
    """Return the error as its caller may read it: an INTERNAL one keeps its text to the log."""
    if error.code != "INTERNAL":
        return error
    _logger.error("a request failed: %s", error.message, exc_info=error)
    return RequestError("INTERNAL", INTERNAL_TEXT)
