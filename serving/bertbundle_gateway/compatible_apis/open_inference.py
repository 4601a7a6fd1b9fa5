"""KServe's Open Inference Protocol (version 2) over REST.

Source: specification/protocol in https://github.com/kserve/open-inference-protocol. The inputs are texts (BYTES), or
the tensors of a signature. A text that is invalid fails the request: the protocol has no errors of elements.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy.typing as npt
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from bertbundle import __version__
from bertbundle_gateway.compatible_apis.open_inference_binary import (
    SIZE,
    BinaryData,
    json_size,
    tensors_response,
)
from bertbundle_gateway.compatible_apis.open_inference_models import (
    EXTENSIONS,
    PLATFORM,
    SERVER_NAME,
    Inference,
    available_versions,
    check_parameters,
    infer,
    model_ref,
    model_tensors,
    named_tensors,
    total_size,
)
from bertbundle_gateway.compatible_apis.open_inference_raw import array_from_raw
from bertbundle_gateway.compatible_apis.open_inference_tensors import (
    array_from_values,
    convert,
    invalid_tensor,
    tensor_field,
)
from bertbundle_gateway.core.errors import invalid_request
from bertbundle_gateway.core.models import ModelRef
from bertbundle_gateway.web.json_documents import json_response
from bertbundle_gateway.web.route_names import describe_error
from bertbundle_gateway.web.routes import ApiContext, ErrorStyle, api_router
from bertbundle_gateway.web.validation import Body, Many

__all__ = ["open_inference_health_router", "open_inference_router"]


class InputTensor(Body):
    """An input tensor."""

    name: str
    shape: Many[int]
    datatype: str
    data: list[Any] | None = Field(
        None, description="The elements, flat or nested, in row-major order; null if they are bytes after the JSON."
    )
    parameters: dict[str, Any] | None = Field(
        None, description='`binary_data_size`: the number of bytes of the tensor; {"content_type": "str"}.'
    )


class OutputSelection(Body):
    """An output to return."""

    name: str
    parameters: dict[str, Any] | None = Field(
        None, description="`binary_data`: whether the output is bytes after the JSON."
    )


class InferBody(Body):
    """Texts, or the tensors of a signature."""

    inputs: Many[InputTensor]
    id: str | None = None
    model_name: str | None = Field(None, description="The model of the path, which KServe's client repeats here.")
    parameters: dict[str, Any] | None = Field(
        None,
        description="For texts: the options of the method, such as `truncation`. For tensors: `signature_name`. "
        "`binary_data_output`: whether the outputs are bytes after the JSON.",
    )
    outputs: Many[OutputSelection] | None = Field(None, description="The outputs to return; null for all.")


class OutputTensor(BaseModel):
    """An output tensor, with flat data."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | None = None
    parameters: dict[str, Any] | None = None


class InferDocument(BaseModel):
    """The outputs."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


class TensorInfo(BaseModel):
    """A tensor; a dimension of any size is -1."""

    name: str
    datatype: str
    shape: list[int]


class ModelDocument(BaseModel):
    """The inputs and outputs of a model for texts."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorInfo]
    outputs: list[TensorInfo]


class ErrorBody(BaseModel):
    """The response to a request that failed."""

    error: str


_BINARY_OUTPUTS = "binary_data_output"
_BINARY_CONTENT = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_STYLE = ErrorStyle(lambda error, _status: {"error": describe_error(error)})
_ERRORS: Mapping[int | str, Any] = {status: {"model": ErrorBody} for status in (400, 401, 404, 429, 503, 504)}
_PATHS = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")


def open_inference_router(context: ApiContext) -> APIRouter:
    """Return the routes of inference and metadata."""
    router = api_router(context, _STYLE, tag="Open Inference Protocol", json_size=json_size)
    service = context.service
    timeout = context.options.timeout_seconds

    async def run(body: InferBody, request: Request, model: str, version: str | None = None) -> Response:
        content = await request.body()
        binary = BinaryData(content[json_size(request) or sys.maxsize :])
        inference = await convert(len(content), _inference, body, model_ref(model, version), binary, timeout)
        is_binary = _binary_outputs(body)
        outputs, number = await infer(service, inference)
        answer = {"model_name": model, "model_version": str(number)}
        document = answer if body.id is None else {**answer, "id": body.id}
        return await convert(total_size(outputs), tensors_response, document, outputs, is_binary)

    async def describe(model: str, version: str | None = None) -> Response:
        info = await service.describe(model_ref(model, version))
        inputs, outputs = model_tensors(info.manifest)
        document = {"name": model, "versions": available_versions(info), "platform": PLATFORM}
        return json_response({**document, "inputs": inputs, "outputs": outputs})

    for path, suffix in zip(_PATHS, ("", "_of_version"), strict=True):
        router.add_api_route(
            f"{path}/infer",
            run,
            methods=["POST"],
            summary="Run a model",
            operation_id=f"infer{suffix}",
            responses={200: {"model": InferDocument, "content": _BINARY_CONTENT}, **_ERRORS},
        )
        router.add_api_route(
            path,
            describe,
            methods=["GET"],
            summary="Describe a model",
            operation_id=f"model_metadata{suffix}",
            responses={200: {"model": ModelDocument}, **_ERRORS},
        )
    return router


def open_inference_health_router(context: ApiContext) -> APIRouter:
    """Return the routes of health and server metadata, which need no key."""
    router, probes = api_router(context, _STYLE, tag="Open Inference Protocol", public=True), context.service.probes
    timeout = context.options.timeout_seconds

    @router.get("/v2", operation_id="server_metadata", summary="Describe the server")
    async def metadata() -> Response:
        return json_response({"name": SERVER_NAME, "version": __version__, "extensions": EXTENSIONS})

    @router.get("/v2/health/live", operation_id="live", summary="Check that the server answers")
    async def live() -> Response:
        return json_response({"live": True})

    @router.get("/v2/health/ready", operation_id="ready", summary="Check that all models answer")
    async def ready() -> Response:
        is_ready = not (await probes.readiness(timeout=timeout)).reason
        return json_response({"ready": is_ready}, 200 if is_ready else 503)

    async def model_ready(model: str, version: str | None = None) -> Response:
        await probes.check(model_ref(model, version), timeout=timeout)
        return json_response({"name": model, "ready": True})

    for path, suffix in zip(_PATHS, ("", "_of_version"), strict=True):
        router.add_api_route(
            f"{path}/ready",
            model_ready,
            methods=["GET"],
            summary="Check that the model answers",
            operation_id=f"model_ready{suffix}",
            responses={404: {"model": ErrorBody}, 503: {"model": ErrorBody}},
        )
    return router


def _inference(body: InferBody, ref: ModelRef, binary: BinaryData, timeout: float) -> Inference:
    if body.model_name not in (None, ref.name):
        message = f"The path names the model {ref.name!r:.80}, model_name another one. Leave it out."
        raise invalid_request("INVALID_FIELD", message, field="model_name")
    inputs = named_tensors([(tensor.name, _array(tensor, binary)) for tensor in body.inputs])
    binary.check_end()
    parameters = {name: value for name, value in (body.parameters or {}).items() if name != _BINARY_OUTPUTS}
    return Inference(ref, inputs, parameters, [output.name for output in body.outputs or ()], timeout)


def _array(tensor: InputTensor, binary: BinaryData) -> npt.NDArray[Any]:
    parameters = dict(tensor.parameters or {})
    field = tensor_field(tensor.name)
    is_binary, size = SIZE in parameters, parameters.pop(SIZE, None)
    check_parameters(tensor.name, parameters, {"content_type": "str"})
    if is_binary == (tensor.data is not None):
        raise invalid_tensor(
            field, f"it has {'data and' if is_binary else 'neither data nor'} {SIZE}. Send one of them"
        )
    if is_binary:
        return array_from_raw(tensor.name, tensor.datatype, tensor.shape, binary.take(field, size))
    return array_from_values(tensor.name, tensor.datatype, tensor.shape, tensor.data)


def _binary_outputs(body: InferBody) -> Callable[[str], bool]:
    """Return a function that says whether an output is to be bytes.

    Raises:
        RequestError: a parameter says neither true nor false, or is another one.
    """
    default = (body.parameters or {}).get(_BINARY_OUTPUTS, False)
    choices = {output.name: dict(output.parameters or {}) for output in body.outputs or ()}
    chosen = {name: parameters.pop("binary_data", default) for name, parameters in choices.items()}
    for name, parameters in choices.items():
        check_parameters(name, parameters, {})
    if any(not isinstance(value, bool) for value in (default, *chosen.values())):
        message = f"{_BINARY_OUTPUTS} and binary_data must be true or false."
        raise invalid_request("INVALID_FIELD", message, field="parameters")
    return lambda name: bool(chosen.get(name, default))
