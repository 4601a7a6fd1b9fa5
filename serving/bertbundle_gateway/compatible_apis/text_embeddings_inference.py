"""text-embeddings-inference's API: ``/embed``, ``/predict``, ``/info`` and ``/health``.

That server has one model, so its paths have no name. Here they work if one model fits, and for each model with the
prefix ``/models/{model}``, as in ``/models/minilm/embed``. Source: docs/openapi.json and router/src/http of
https://github.com/huggingface/text-embeddings-inference.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from bertbundle import Manifest, __version__
from bertbundle.pipelines.decoders import DECODER_FACTORIES
from bertbundle.session.batches import AskOptions
from bertbundle_gateway.compatible_apis.items import TRUNCATE_HINT, EmbedParameters, Truncating, ask_all, embed_all
from bertbundle_gateway.core.errors import RequestError
from bertbundle_gateway.core.models import ModelRef
from bertbundle_gateway.core.service import TextService
from bertbundle_gateway.web.json_documents import json_response
from bertbundle_gateway.web.route_names import describe_error
from bertbundle_gateway.web.routes import ApiContext, ErrorStyle, api_router
from bertbundle_gateway.web.validation import Many

__all__ = ["text_embeddings_inference_health_router", "text_embeddings_inference_router"]


class EmbedBody(EmbedParameters):
    """Texts to embed; `normalize` is true unless it is sent."""

    inputs: str | Many[str] = Field(description="A text or a list of texts. Arrays of tokens are refused.")


Words = Annotated[Many[str], Field(min_length=1, max_length=2)]


class PredictBody(Truncating):
    """Texts to classify."""

    inputs: str | Words | Many[Words] = Field(
        description="A text, a pair of texts, or a list of lists of one text or of a pair."
    )
    raw_scores: bool = Field(False, description="Return the logits.")


class Prediction(BaseModel):
    """The score of a label."""

    label: str
    score: float


class Info(BaseModel):
    """What is known about a model."""

    model_id: str
    model_sha: str | None = None
    model_dtype: str
    model_type: dict[str, Any]
    max_concurrent_requests: int
    max_input_length: int
    max_batch_tokens: int
    max_batch_requests: int | None = None
    max_client_batch_size: int
    auto_truncate: bool = False
    tokenization_workers: int = 1
    version: str = __version__
    sha: str | None = None
    docker_label: str | None = None


class ErrorBody(BaseModel):
    """The response to a request that failed."""

    error: str
    error_type: str


_ERRORS: Mapping[int | str, Any] = {
    status: {"model": ErrorBody} for status in (400, 401, 404, 413, 422, 424, 429, 503, 504)
}
_EMBED: Mapping[str, Any] = {
    "summary": "Embed texts",
    "responses": {200: {"model": list[list[float]]}, **_ERRORS},
}
_PREDICT: Mapping[str, Any] = {
    "summary": "Classify texts or pairs",
    "responses": {200: {"model": list[Prediction] | list[list[Prediction]]}, **_ERRORS},
}
_INFO: Mapping[str, Any] = {"summary": "Describe the model", "responses": {200: {"model": Info}, **_ERRORS}}


def text_embeddings_inference_router(context: ApiContext) -> APIRouter:
    """Return the routes of text-embeddings-inference."""
    router, service = api_router(context, _STYLE, tag="text-embeddings-inference"), context.service

    @router.post("/embed", operation_id="embed", **_EMBED)
    async def embed(body: EmbedBody) -> Response:
        return await _embed(service, await _only_model(service, "feature-extraction"), body)

    @router.post("/models/{model}/embed", operation_id="embed_with", **_EMBED)
    async def embed_with(model: str, body: EmbedBody) -> Response:
        return await _embed(service, ModelRef(model), body)

    @router.post("/predict", operation_id="predict", **_PREDICT)
    async def predict(body: PredictBody) -> Response:
        return await _predict(service, await _only_model(service, "text-classification"), body)

    @router.post("/models/{model}/predict", operation_id="predict_with", **_PREDICT)
    async def predict_with(model: str, body: PredictBody) -> Response:
        return await _predict(service, ModelRef(model), body)

    @router.get("/info", operation_id="info_of_model", **_INFO)
    async def info() -> Response:
        return await _info(service, await _only_model(service))

    @router.get("/models/{model}/info", operation_id="info_with", **_INFO)
    async def info_with(model: str) -> Response:
        return await _info(service, ModelRef(model))

    return router


def text_embeddings_inference_health_router(context: ApiContext) -> APIRouter:
    """Return the routes of health checks, which need no key."""
    router, probes = api_router(context, _STYLE, tag="text-embeddings-inference", public=True), context.service.probes
    timeout = context.options.timeout_seconds
    responses: dict[int | str, Any] = {200: {"description": "Healthy."}, **_ERRORS}

    @router.get("/health", operation_id="health", summary="Check that all models answer", responses=responses)
    async def health() -> Response:
        readiness = await probes.readiness(timeout=timeout)
        if readiness.reason:
            raise RequestError("UNAVAILABLE", "UNHEALTHY", f"Not ready: {readiness.reason}.")
        return Response()

    @router.get(
        "/models/{model}/health",
        operation_id="health_with",
        summary="Check that the model answers",
        responses=responses,
    )
    async def health_with(model: str) -> Response:
        await probes.check(ModelRef(model), timeout=timeout)
        return Response()

    return router


async def _only_model(service: TextService, task: str = "") -> ModelRef:
    """Return the only model, or the only one for a task.

    Raises:
        RequestError: there is none or more than one.
    """
    names = service.models()
    if task:
        manifests = await asyncio.gather(*(service.manifest(ModelRef(name)) for name in names), return_exceptions=True)
        fitting = [
            name
            for name, found in zip(names, manifests, strict=True)
            if isinstance(found, Manifest) and found.task == task
        ]
        names = fitting if len(names) > 1 else names
    if len(names) == 1:
        return ModelRef(names[0])
    kind = f" for {task}" if task else ""
    count = f"{len(names)} models{kind}" if names else f"no model{kind}"
    raise RequestError(
        "NOT_FOUND", "MODEL_NOT_NAMED", f"There are {count}. Name the model in the URL: /models/MODEL before the path."
    )


async def _embed(service: TextService, ref: ModelRef, body: EmbedBody) -> Response:
    texts = [body.inputs] if isinstance(body.inputs, str) else body.inputs
    return json_response(await embed_all(service, ref, texts, body, normalize=True))


async def _predict(service: TextService, ref: ModelRef, body: PredictBody) -> Response:
    items, is_batch = _items(body.inputs)
    options: dict[str, Any] = {"function_to_apply": "none"} if body.raw_scores else {}
    decoder = DECODER_FACTORIES["text-classification"](top_k=None, **options)
    ask_options = AskOptions(body.truncation)
    results = await ask_all(service, ref, "classify", items, decoder, ask_options, TRUNCATE_HINT)
    return json_response(results if is_batch else results[0])


def _items(inputs: Any) -> tuple[Sequence[Any], bool]:
    """Return the texts and pairs of a request, and whether it is a batch."""
    if isinstance(inputs, str):
        return [inputs], False
    is_batch = not inputs or isinstance(inputs[0], list)
    parts = inputs if is_batch else [inputs]
    return [part[0] if len(part) == 1 else tuple(part) for part in parts], is_batch


async def _info(service: TextService, ref: ModelRef) -> Response:
    manifest, limits = (await service.describe(ref)).manifest, service.limits
    kind = _model_type(manifest)
    if kind is None:
        raise RequestError(
            "FAILED_PRECONDITION",
            "WRONG_TASK",
            f"The model is for {manifest.task}, which text-embeddings-inference has not. "
            f"Use GET /v1/models/{ref.name}:info.",
        )
    info = Info(
        model_id=ref.name,
        model_dtype=manifest.precision,
        model_type=kind,
        max_concurrent_requests=limits.requests,
        max_input_length=manifest.max_length,
        max_batch_tokens=manifest.max_length * limits.texts,
        max_client_batch_size=limits.texts,
    )
    return json_response(info.model_dump())


def _model_type(manifest: Manifest) -> dict[str, Any] | None:
    if manifest.task == "feature-extraction":
        return {"embedding": {"pooling": manifest.pooling}}
    if manifest.task != "text-classification":
        return None
    labels = dict(enumerate(manifest.labels))
    names = {str(index): label for index, label in labels.items()}
    return {"classifier": {"id2label": names, "label2id": {label: index for index, label in labels.items()}}}


# Source: `impl From<&ErrorType> for StatusCode` in router/src/http/server.rs, for the types that it has.
_BY_REASON: Mapping[str, tuple[int, str]] = {
    **dict.fromkeys(("TEXT_TOO_LONG", "TOO_MANY_TEXTS", "TOO_MANY_CHARACTERS", "BODY_TOO_LARGE"), (413, "Validation")),
    **dict.fromkeys(("EMPTY_TEXT", "NO_TEXTS"), (400, "Empty")),
    **dict.fromkeys(("INVALID_UNICODE", "INVALID_TEXT"), (422, "Tokenizer")),
    "INVALID_JSON": (400, "Validation"),
}
_BY_CODE: Mapping[str, tuple[int, str]] = {
    "INVALID_ARGUMENT": (422, "Validation"),
    "NOT_FOUND": (404, "Validation"),
    "UNAUTHENTICATED": (401, "Validation"),
    "RESOURCE_EXHAUSTED": (429, "Overloaded"),
    "UNAVAILABLE": (503, "Unhealthy"),
    "DEADLINE_EXCEEDED": (504, "Backend"),
}
_BACKEND = (424, "Backend")


def _status_and_type(error: RequestError) -> tuple[int, str]:
    return _BY_REASON.get(error.reason) or _BY_CODE.get(error.code, _BACKEND)


def _document(error: RequestError, _status: int) -> dict[str, Any]:
    return {"error": describe_error(error), "error_type": _status_and_type(error)[1]}


_STYLE = ErrorStyle(_document, lambda error: _status_and_type(error)[0])
