"""Hugging Face's inference API: ``POST /models/{model}`` and ``POST /models/{model}/pipeline/{task}``.

Source: the requests of `huggingface_hub.InferenceClient(model=url)` and of the npm package `@huggingface/inference`
with `endpointUrl`, and the types of both. The client sends every task to the same URL, and the body does not name it:
with the first path the task is that of the model, with the second one it is checked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import APIRouter, Response
from pydantic import ValidationError

from bertbundle import Manifest
from bertbundle.contract.heads import MULTI_TASK
from bertbundle.pipelines.pipeline import Pipeline
from bertbundle_gateway.compatible_apis import hugging_face_bodies as bodies
from bertbundle_gateway.compatible_apis.items import ask_all, embed_all
from bertbundle_gateway.core.errors import RequestError, invalid_request
from bertbundle_gateway.core.methods import METHOD_OF_TASK
from bertbundle_gateway.core.models import ModelRef
from bertbundle_gateway.core.service import TextService
from bertbundle_gateway.web.json_documents import json_response
from bertbundle_gateway.web.route_names import describe_error
from bertbundle_gateway.web.routes import ApiContext, ErrorStyle, api_router, http_status
from bertbundle_gateway.web.validation import Body, validation_error

__all__ = ["hugging_face_router"]


@dataclass(frozen=True, slots=True)
class _Task:
    """A task of the API.

    Attributes:
        body: its request.
        answer: returns the response for a model and a request.
    """

    body: type[Body]
    answer: Callable[[TextService, ModelRef, Any], Awaitable[Any]]


def hugging_face_router(context: ApiContext) -> APIRouter:
    """Return the routes of Hugging Face's API."""
    router = api_router(context, _STYLE, tag="Hugging Face")
    service = context.service
    responses: Mapping[int | str, Any] = {
        status: {"model": bodies.ErrorBody} for status in (400, 401, 404, 429, 502, 504)
    }

    @router.post(
        "/models/{model}",
        summary="Answer the task of the model",
        operation_id="hugging_face",
        responses={200: {"description": "As for the task."}, **responses},
    )
    async def answer(model: str, body: dict[str, Any]) -> Response:
        ref = ModelRef(model)
        name = _task_of(await service.manifest(ref), ref, body)
        task = _TASKS[name]
        return json_response(await task.answer(service, ref, _parse(task.body, body, name)))

    for name, task in _TASKS.items():
        router.add_api_route(
            f"/models/{{model}}/pipeline/{name}",
            _endpoint(service, task),
            methods=["POST"],
            summary=f"Answer {name}",
            operation_id=f"hugging_face_{name.replace('-', '_')}",
            responses={200: {"description": "As Hugging Face's API."}, **responses},
        )
    return router


def _endpoint(service: TextService, task: _Task) -> Callable[..., Awaitable[Response]]:
    async def answer(model: str, body: Any) -> Response:
        return json_response(await task.answer(service, ModelRef(model), body))

    # FastAPI reads the types of the parameters here.
    answer.__annotations__ = {"model": str, "body": task.body, "return": Response}
    return answer


def _parse(model: type[Body], body: Mapping[str, Any], task: str) -> Body:
    """Return the request; an error says for which task the model is, as the request does not name it."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        errors = [{**item, "loc": ("body", *item["loc"])} for item in error.errors(include_url=False)]
        found = validation_error(errors, model)
        raise invalid_request(found.reason, f"{found.message} This model is for {task}.", field=found.field) from None


def _task_of(manifest: Manifest, ref: ModelRef, body: Mapping[str, Any]) -> str:
    """Return the task of a request that names none.

    Raises:
        RequestError: the model has several, or one that the API has not.
    """
    task = manifest.task
    if task == "feature-extraction" and isinstance(body.get("inputs"), dict):
        task = "sentence-similarity"
    if task in _TASKS:
        return task
    if task == MULTI_TASK:
        names = ", ".join(f"{name} ({head.task})" for name, head in manifest.heads.items())
        message = f"This model has the heads {names}. Name the task in the URL: /models/MODEL/pipeline/TASK."
        raise RequestError("FAILED_PRECONDITION", "SEVERAL_TASKS", message)
    raise RequestError(
        "FAILED_PRECONDITION",
        "WRONG_TASK",
        f"This model is for {task}, which Hugging Face's API has not.",
        right_method=METHOD_OF_TASK.get(task, ""),
        metadata={"model": ref.name},
    )


_HINT = 'Split it, or send "parameters": {"truncation": true}, which drops its end.'


class _Asker:
    """Takes the place of a client in a pipeline: requests go through the service, with its limits and errors."""

    def __init__(self, service: TextService, ref: ModelRef, method: str) -> None:
        self._service = service
        self._ref = ref
        self._method = method

    async def ask(self, decoder: Any, texts: Any, options: Any) -> Any:
        """Return the result of a text or a pair, or those of a list."""
        items = texts if isinstance(texts, list) else [texts]
        results = await ask_all(self._service, self._ref, self._method, items, decoder, options, _HINT)
        return results if isinstance(texts, list) else results[0]


def _with_pipeline(task: str, **defaults: Any) -> Callable[[TextService, ModelRef, Any], Awaitable[Any]]:
    """Return a function that answers requests with one of the client's pipelines, which follow transformers'."""

    async def answer(service: TextService, ref: ModelRef, body: Any) -> Any:
        parameters = {} if body.parameters is None else body.parameters.model_dump(exclude_none=True)
        asker: Any = _Asker(service, ref, METHOD_OF_TASK[task])
        try:
            pipeline = Pipeline(asker, task, **{**defaults, **parameters})
        except (TypeError, ValueError) as error:
            raise invalid_request("NOT_SUPPORTED", f"{error}.".replace("..", "."), field="parameters") from error
        return await pipeline(body.pipeline_inputs())

    return answer


async def _classify(service: TextService, ref: ModelRef, body: Any) -> Any:
    """Return a list of classes for each text; Hugging Face's API does so for a single text, too."""
    result = await _with_pipeline("text-classification", top_k=None)(service, ref, body)
    return result if isinstance(body.inputs, str | list) else [result]


async def _embed(service: TextService, ref: ModelRef, body: Any) -> Any:
    texts = [body.inputs] if isinstance(body.inputs, str) else body.inputs
    return await embed_all(service, ref, texts, body)


async def _compare(service: TextService, ref: ModelRef, body: Any) -> Any:
    """Return the cosine of the embeddings of the source sentence and of each other sentence."""
    inputs = body.inputs
    parameters = body.parameters or bodies.EmbedParameters()
    vectors = await embed_all(service, ref, [inputs.source_sentence, *inputs.sentences], parameters)
    source, *others = vectors.astype(np.float64)
    lengths = np.linalg.norm(source) * np.linalg.norm(others, axis=1)
    return np.stack(others) @ source / lengths


_TASKS: Mapping[str, _Task] = {
    "token-classification": _Task(
        bodies.TokenClassificationBody, _with_pipeline("token-classification", aggregation_strategy="simple")
    ),
    "text-classification": _Task(bodies.TextClassificationBody, _classify),
    "question-answering": _Task(bodies.QuestionAnsweringBody, _with_pipeline("question-answering")),
    "fill-mask": _Task(bodies.FillMaskBody, _with_pipeline("fill-mask")),
    "feature-extraction": _Task(bodies.FeatureExtractionBody, _embed),
    "sentence-similarity": _Task(bodies.SentenceSimilarityBody, _compare),
}


def _document(error: RequestError, _status: int) -> dict[str, Any]:
    return {"error": describe_error(error)}


def _status(error: RequestError) -> int:
    """Return the HTTP status of an error.

    To Hugging Face's clients 503 means that the model is being loaded: @huggingface/inference then retries at once and
    forever.
    """
    return 502 if error.code == "UNAVAILABLE" else http_status(error)


_STYLE = ErrorStyle(_document, _status)
