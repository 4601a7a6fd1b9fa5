"""Put the servicer behind gRPC: paths, message bytes, and what becomes of an error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message

from bertbundle.wire import _wire_pb2 as wire
from bertbundle_serving.dataplane.admission import Front, Request
from bertbundle_serving.errors import RequestError
from bertbundle_serving.grpc_api.servicer import Servicer
from bertbundle_serving.protos import _api_pb2 as api

__all__ = ["MAX_MESSAGE", "MODEL_SERVICE", "PREDICTION_SERVICE", "generic_handlers", "shorten"]

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"

# Source: tensorflow_serving/model_servers/grpc_status_util.cc, kErrorMessageLimit.
MAX_MESSAGE = 1024
_TRUNCATED = "...TRUNCATED"

_Method = Callable[[Any], Awaitable[Message]]
_Handler = Callable[[bytes, Any], Awaitable[bytes]]


def generic_handlers(servicer: Servicer, front: Front) -> tuple[Any, ...]:
    """Return the handlers to register; gRPC itself answers every other method with UNIMPLEMENTED."""
    services: dict[str, dict[str, tuple[type[Message], _Method]]] = {
        PREDICTION_SERVICE: {
            "Predict": (wire.PredictRequest, servicer.predict),
            "Classify": (api.ClassificationRequest, servicer.classify),
            "Regress": (api.RegressionRequest, servicer.regress),
            "MultiInference": (api.MultiInferenceRequest, servicer.multi_inference),
            "GetModelMetadata": (wire.GetModelMetadataRequest, servicer.get_model_metadata),
        },
        MODEL_SERVICE: {
            "GetModelStatus": (wire.GetModelStatusRequest, servicer.get_model_status),
            "HandleReloadConfigRequest": (api.ReloadConfigRequest, servicer.reload_config),
        },
    }
    return tuple(
        grpc.method_handlers_generic_handler(
            service,
            {
                name: grpc.unary_unary_rpc_method_handler(_handler(front, name, *method))
                for name, method in methods.items()
            },
        )
        for service, methods in services.items()
    )


def shorten(message: str) -> str:
    """Cut a message as TensorFlow Serving does, so that it fits into the response's headers.

    >>> shorten("x" * 2000)[-14:]
    'xx...TRUNCATED'
    """
    return message if len(message) <= MAX_MESSAGE else message[:MAX_MESSAGE] + _TRUNCATED


def _handler(front: Front, name: str, request_type: type[Message], method: _Method) -> _Handler:
    async def handle(data: bytes, context: Any) -> bytes:
        try:
            request = _parse(request_type, data)
            info = Request(_model(request), name, "GRPC", len(data))
            return await front.answer(info, _answer(method, request), context.time_remaining())
        except RequestError as error:
            await context.abort(grpc.StatusCode[error.code], shorten(error.message))
            raise  # never reached: abort raises

    return handle


async def _answer(method: _Method, request: Message) -> bytes:
    return (await method(request)).SerializeToString()


def _model(request: Any) -> str:
    """Return the model a request names; "" if it names none."""
    if isinstance(request, api.ReloadConfigRequest):
        return ""
    holder = request.tasks[0] if isinstance(request, api.MultiInferenceRequest) and request.tasks else request
    return str(getattr(holder, "model_spec", wire.ModelSpec()).name)


def _parse(request_type: type[Message], data: bytes) -> Message:
    try:
        return request_type.FromString(data)
    except DecodeError as error:
        text = f"the request is not a valid {request_type.DESCRIPTOR.name} message"
        raise RequestError("INVALID_ARGUMENT", text) from error
