"""The routes of the text API: ``POST /v1/models/{model}:entities`` and so on.

The names are nouns, what is returned. TensorFlow Serving's routes are verbs (``:predict``, ``:classify``, ``:regress``)
and take tensors and examples; an embedded server has both on one port.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel

from bertbundle_gateway.core.errors import ItemError, RequestError
from bertbundle_gateway.core.methods import Options
from bertbundle_gateway.core.models import ModelRef
from bertbundle_gateway.core.service import Results, TextService
from bertbundle_gateway.rest_api import schemas
from bertbundle_gateway.rest_api.results import error_document, result_documents
from bertbundle_gateway.web.json_documents import json_response
from bertbundle_gateway.web.route_names import ROUTE_OF_METHOD, describe_error
from bertbundle_gateway.web.routes import ApiContext, ErrorStyle, api_router

__all__ = ["STYLE", "text_router"]


@dataclass(frozen=True, slots=True)
class _Route:
    """A route of the text API.

    Attributes:
        method: the name of its method in `METHODS`.
        request, response: the bodies.
        summary: what it does.
        items: returns the items for the method.
    """

    method: str
    request: type[BaseModel]
    response: type[BaseModel]
    summary: str
    items: Callable[[Any], list[Any]] = lambda body: body.texts


def _pairs(body: Any) -> list[Any]:
    return [tuple(text) if isinstance(text, list) else text for text in body.texts]


_ROUTES = (
    _Route(
        "entities",
        schemas.EntitiesRequest,
        schemas.EntitiesResponse,
        "Find the entities in texts (token classification, span classification)",
    ),
    _Route("classify", schemas.ClassesRequest, schemas.ClassesResponse, "Classify texts or pairs", _pairs),
    _Route("regress", schemas.ValuesRequest, schemas.ValuesResponse, "Compute a number for texts or pairs", _pairs),
    _Route("embed", schemas.EmbeddingsRequest, schemas.EmbeddingsResponse, "Embed texts"),
    _Route(
        "answer",
        schemas.AnswersRequest,
        schemas.AnswersResponse,
        "Answer questions from their contexts",
        lambda body: [(item.question, item.context) for item in body.questions],
    ),
    _Route("fill_mask", schemas.FillsRequest, schemas.FillsResponse, "Find the best tokens for masks"),
    _Route("heads", schemas.HeadsRequest, schemas.HeadsResponse, "Answer with all heads of a model at once", _pairs),
)
_OPTIONS = frozenset(field.name for field in fields(Options))


STYLE = ErrorStyle(lambda error, status: error_document(error, describe_error(error), status))
"""The errors of the text API."""


def text_router(context: ApiContext) -> APIRouter:
    """Return the routes of the text API."""
    router = api_router(context, STYLE, tag="Text")
    for route in _ROUTES:
        name = ROUTE_OF_METHOD[route.method]
        router.add_api_route(
            f"/v1/models/{{model}}:{name}",
            _endpoint(context.service, route),
            methods=["POST"],
            summary=route.summary,
            operation_id=name,
            description=route.response.__doc__,
            responses={
                200: {"model": route.response},
                **{status: {"model": schemas.ErrorResponse, "description": text} for status, text in _ERRORS.items()},
            },
        )
    return router


_ERRORS: Mapping[int | str, str] = {
    400: "The request is invalid, the model is for another task, or no text has a result.",
    401: "The API key is missing or wrong.",
    404: "There is no such model.",
    429: "Too many requests.",
    503: "The server of the model cannot be reached.",
    504: "The server of the model did not answer in time.",
}


def _endpoint(service: TextService, route: _Route) -> Callable[..., Any]:
    async def answer(model: str, body: Any) -> Response:
        items = route.items(body)
        results = await service.annotate(ModelRef(model, body.version, body.label), route.method, items, _options(body))
        documents = result_documents(route.method, results, items, getattr(body, "offset_unit", "code_points"))
        return _response(model, results, documents)

    # FastAPI reads the types of the parameters here.
    answer.__annotations__ = {"model": str, "body": route.request, "return": Response}
    return answer


def _options(body: BaseModel) -> Options:
    values = {name: getattr(body, name) for name in type(body).model_fields if name in _OPTIONS}
    return Options(**values)


def _response(model: str, results: Results, documents: list[dict[str, Any]]) -> Response:
    """Return the results; as an error if no text has one."""
    document = {"model": model, "model_version": results.version, "results": documents}
    errors = [result for result in results if isinstance(result, ItemError)]
    if len(errors) < len(results):
        return json_response(document)
    error = RequestError(errors[0].code, errors[0].reason, errors[0].message)
    status = STYLE.status(error)
    return json_response({**STYLE.document(error, status), **document}, status)
