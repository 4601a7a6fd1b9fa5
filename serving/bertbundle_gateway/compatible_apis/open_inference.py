"""KServe's Open Inference Protocol (version 2) over REST.

Source: specification/protocol in https://github.com/kserve/open-inference-protocol. The inputs are texts (BYTES), or
the tensors of a signature. A text that is invalid fails the request: the protocol has no errors of elements.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from bertbundle import __version__
from bertbundle_gateway.compatible_apis.open_inference_models import (
    PLATFORM,
    SERVER_NAME,
    Inference,
    available_versions,
    check_parameters,
    infer,
    model_ref,
    model_tensors,
    named_tensors,
)
from bertbundle_gateway.compatible_apis.open_inference_tensors import array_from_values, json_tensor
from bertbundle_gateway.core.errors import invalid_request
from bertbundle_gateway.core.models import ModelRef
from bertbundle_gateway.web.json_documents import json_response
from bertbundle_gateway.web.route_names import describe_error
from bertbundle_gateway.web.routes import ApiContext, ErrorStyle, api_router
from bertbundle_gateway.web.validation import Body

__all__ = ["open_inference_health_router", "open_inference_router"]


class InputTensor(Body):
    """An input tensor."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any] = Field(description="The elements, flat or nested, in row-major order.")
    parameters: dict[str, Any] | None = Field(None, description='Only {"content_type": "str"} is supported.')


class OutputSelection(Body):
    """An output to return."""

    name: str
    parameters: dict[str, Any] | None = Field(None, description='Only {"binary_data": false} is supported.')


class InferBody(Body):
    """Texts, or the tensors of a signature."""

    inputs: list[InputTensor]
    id: str | None = None
    parameters: dict[str, Any] | None = Field(
        None, description="For texts: the options of the method, such as `truncation`. For tensors: `signature_name`."
    )
    outputs: list[OutputSelection] | None = Field(None, description="The outputs to return; null for all.")


class OutputTensor(BaseModel):
    """An output tensor, with flat data."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


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


_STYLE = ErrorStyle(lambda error, _status: {"error": describe_error(error)})
_ERRORS: Mapping[int | str, Any] = {status: {"model": ErrorBody} for status in (400, 401, 404, 429, 503, 504)}
_PATHS = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")


def open_inference_router(context: ApiContext) -> APIRouter:
    """Return the routes of inference and metadata."""
    router = api_router(context, _STYLE, tag="Open Inference Protocol", check=_refuse_binary_data)
    service = context.service
    timeout = context.options.timeout_seconds

    async def run(body: InferBody, model: str, version: str | None = None) -> Response:
        request = _inference(body, model_ref(model, version), timeout)
        outputs, number = await infer(service, request)
        return json_response(
            {
                "model_name": model,
                "model_version": str(number),
                **({} if body.id is None else {"id": body.id}),
                "outputs": [json_tensor(name, array) for name, array in outputs.items()],
            }
        )

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
            responses={200: {"model": InferDocument}, **_ERRORS},
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


def _refuse_binary_data(request: Request) -> None:
    """Refuse Triton's extension: a header with the size of the JSON that the binary data follows."""
    if "inference-header-content-length" in request.headers:
        message = "Tensors as binary data are not supported: send JSON, with binary_data=False in Triton's client."
        raise invalid_request("NOT_SUPPORTED", message)


def open_inference_health_router(context: ApiContext) -> APIRouter:
    """Return the routes of health and server metadata, which need no key."""
    router, probes = api_router(context, _STYLE, tag="Open Inference Protocol", public=True), context.service.probes
    timeout = context.options.timeout_seconds

    @router.get("/v2", operation_id="server_metadata", summary="Describe the server")
    async def metadata() -> Response:
        return json_response({"name": SERVER_NAME, "version": __version__, "extensions": []})

    @router.get("/v2/health/live", operation_id="live", summary="Check that the server answers")
    async def live() -> Response:
        return json_response({"live": True})

    @router.get("/v2/health/ready", operation_id="ready", summary="Check that all models answer")
    async def ready() -> Response:
        is_ready = all(await probes.ready(timeout=timeout))
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


def _inference(body: InferBody, ref: ModelRef, timeout: float) -> Inference:
    for tensor in body.inputs:
        check_parameters(tensor.name, tensor.parameters, {"content_type": "str"})
    for output in body.outputs or ():
        check_parameters(output.name, output.parameters, {"binary_data": False})
    inputs = named_tensors(
        [(item.name, array_from_values(item.name, item.datatype, item.shape, item.data)) for item in body.inputs]
    )
    outputs = [output.name for output in body.outputs or ()]
    return Inference(ref, inputs, body.parameters or {}, outputs, timeout)
