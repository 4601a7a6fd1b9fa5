"""TensorFlow Serving's REST API as an ASGI application.

Source of the paths, the order of checks and the error messages:
tensorflow_serving/model_servers/{http_rest_api_handler,http_rest_api_util}.cc.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from bertbundle_serving.dataplane.admission import AdmissionControl, RequestInfo
from bertbundle_serving.dataplane.metrics import CONTENT_TYPE, Metrics
from bertbundle_serving.engine.engine import Engine
from bertbundle_serving.errors import RequestError, invalid_argument
from bertbundle_serving.repository.repository import Repository
from bertbundle_serving.repository.version_labels import ModelRef
from bertbundle_serving.requests.examples import (
    CLASSIFY_METHOD,
    REGRESS_METHOD,
    count_examples,
    read_example_call,
    to_classifications,
    to_regressions,
)
from bertbundle_serving.rest_api.body import read_body
from bertbundle_serving.rest_api.examples import (
    classifications_document,
    examples_input,
    regressions_document,
    signature_name,
)
from bertbundle_serving.rest_api.json_parser import parse_object
from bertbundle_serving.rest_api.models import metadata_document, status_document
from bertbundle_serving.rest_api.predictions import encode_predictions, read_predict_call
from bertbundle_serving.rest_api.responses import (
    CORS_HEADERS,
    body_response,
    encode_json,
    error_response,
    json_response,
)
from bertbundle_serving.runtimes.base import Outputs

__all__ = ["RestOptions", "RestParts", "rest_application"]

_VERSION_PATH = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_PREDICTION_PATH = re.compile(
    rf"(?i)/v1/models/(?P<model>[^/:]+){_VERSION_PATH}:(?-i:(?P<method>classify|regress|predict))"
)
_MODEL_PATH = re.compile(rf"(?i)/v1/models(?:/(?P<model>[^/:]+))?{_VERSION_PATH}(?:/(?P<metadata>metadata))?")
_PATHS = {"POST": _PREDICTION_PATH, "GET": _MODEL_PATH}
_HTTP_METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
_MAX_VERSION = 2**63 - 1
# Parsing a body of this size takes a few ms, during which the event loop cannot serve other requests.
_MAX_INLINE_BYTES = 100_000

Executor: TypeAlias = Callable[..., Awaitable[Any]]
"""Calls a function with arguments: `run_inline`, or `asyncio.to_thread` if it would block the event loop."""


async def run_inline(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in the event loop."""
    return function(*arguments)


@dataclass(frozen=True, slots=True)
class RestOptions:
    """Options of the REST API.

    Attributes:
        timeout_seconds: deadline of every request.
        cors: whether web pages of other origins may send requests.
        metrics_path: URL path of the metrics; None disables them.
        max_body_bytes: maximum size of a request body.
    """

    timeout_seconds: float = 30.0
    cors: bool = False
    metrics_path: str | None = None
    max_body_bytes: int = 64 << 20


@dataclass(frozen=True, slots=True)
class RestParts:
    """The parts of the server that the REST API uses.

    Attributes:
        repository: the models.
        engine: computes calls.
        admission: limits and records requests.
        list_models: returns the document of ``GET /v1/models``.
    """

    repository: Repository
    engine: Engine
    admission: AdmissionControl
    list_models: Callable[[], Awaitable[Any]]


def rest_application(
    parts: RestParts, metrics: Metrics, options: RestOptions, extra_routes: tuple[BaseRoute, ...] = ()
) -> Starlette:
    """Return the application.

    Args:
        parts: what answers the requests.
        metrics: served at `RestOptions.metrics_path`.
        options: options of the API.
        extra_routes: routes that TensorFlow Serving does not have.
    """
    api = _RestApi(parts, options)

    async def show_metrics(http: Request) -> Response:
        del http
        return Response(metrics.exposition(), media_type=CONTENT_TYPE)

    routes: list[BaseRoute] = [*extra_routes]
    if options.metrics_path is not None:
        routes.append(Route(options.metrics_path, show_metrics, methods=["GET"]))
    routes.append(Route("/{path:path}", api.handle, methods=_HTTP_METHODS))
    application = Starlette(routes=routes, exception_handlers={404: api.refuse_path})
    application.router.redirect_slashes = False
    return application


@dataclass(frozen=True, slots=True)
class _RestRequest:
    """A request whose path has been parsed and whose body has been received.

    Attributes:
        ref: the model and the version that the path names.
        api: name of the corresponding gRPC method.
        body: its body; empty for GET.
    """

    ref: ModelRef
    api: str
    body: bytes = b""

    @property
    def executor(self) -> Executor:
        """Where to parse the body: in the event loop if it is small, in a thread if it is large."""
        return run_inline if len(self.body) <= _MAX_INLINE_BYTES else asyncio.to_thread


class _RestApi:
    def __init__(self, parts: RestParts, options: RestOptions) -> None:
        self._repository = parts.repository
        self._engine = parts.engine
        self._admission = parts.admission
        self._list_models = parts.list_models
        self._options = options
        self._methods: Mapping[str, Callable[[_RestRequest], Awaitable[bytes]]] = {
            "Predict": self._predict,
            "Classify": self._classify,
            "Regress": self._regress,
            "GetModelStatus": self._get_model_status,
            "GetModelMetadata": self._get_model_metadata,
        }

    async def handle(self, http: Request) -> Response:
        """Answer any request."""
        cors = self._options.cors
        if cors and http.method == "OPTIONS":
            return Response(b"", headers=CORS_HEADERS)
        try:
            request = await self._read_request(http)
            return body_response(await _unless_disconnected(http, self._answer(request)), cors=cors)
        except RequestError as error:
            return error_response(error, cors=cors)
        except ClientDisconnect:
            return Response(status_code=499)  # the client is gone

    async def refuse_path(self, http: Request, error: Exception) -> Response:
        """Answer a request whose path does not begin with a slash."""
        del error
        return json_response({"error": f"Malformed request: {http.method} {http.scope['path']}"}, 400)

    async def _read_request(self, http: Request) -> _RestRequest:
        path = http.scope.get("raw_path", b"").decode("latin-1").partition("?")[0]
        pattern = _PATHS.get(http.method)
        match = pattern.fullmatch(path) if pattern else None
        if match is None:
            code = "INVALID_ARGUMENT" if path[:4].lower() == "/v1/" else "NOT_FOUND"
            raise RequestError(code, f"Malformed request: {http.method} {path}")
        ref = _model_ref(match)
        if http.method == "GET":
            return _RestRequest(ref, "GetModelMetadata" if match["metadata"] else "GetModelStatus")
        options = self._options
        body = await read_body(
            http, self._admission, max_bytes=options.max_body_bytes, timeout_seconds=options.timeout_seconds
        )
        return _RestRequest(ref, match["method"].capitalize(), body)

    async def _answer(self, request: _RestRequest) -> bytes:
        with self._admission.admit(RequestInfo(request.ref.name, request.api, "REST", len(request.body))):
            return await asyncio.wait_for(self._methods[request.api](request), self._options.timeout_seconds)

    async def _predict(self, request: _RestRequest) -> bytes:
        run = request.executor
        document = await run(parse_object, request.body)
        name = signature_name(document)
        with self._repository.acquire(request.ref) as version:
            call = await run(read_predict_call, version.signatures, name, document)
            outputs = await self._engine.submit(version, call)
        return await encode_predictions(outputs, by_row="instances" in document)

    async def _classify(self, request: _RestRequest) -> bytes:
        outputs, rows = await self._compute_examples(request, CLASSIFY_METHOD)
        return encode_json(classifications_document(to_classifications(outputs, rows)))

    async def _regress(self, request: _RestRequest) -> bytes:
        outputs, rows = await self._compute_examples(request, REGRESS_METHOD)
        return encode_json(regressions_document(to_regressions(outputs, rows)))

    async def _compute_examples(self, request: _RestRequest, method: str) -> tuple[Outputs, int]:
        """Return the outputs for the examples of a request, and the number of examples."""
        run = request.executor
        document = await run(parse_object, request.body)
        name, examples = signature_name(document), await run(examples_input, document)
        with self._repository.acquire(request.ref) as version:
            call = read_example_call(version.signatures, name, method, examples)
            return await self._engine.submit(version, call), count_examples(examples)

    async def _get_model_status(self, request: _RestRequest) -> bytes:
        if not request.ref.name and request.ref.version is None and request.ref.label is None:
            return encode_json(await self._list_models())  # TensorFlow Serving refuses it
        _check_named(request.ref)
        return encode_json(status_document(self._repository.statuses(request.ref)))

    async def _get_model_metadata(self, request: _RestRequest) -> bytes:
        _check_named(request.ref)
        with self._repository.acquire(request.ref) as version:
            return encode_json(metadata_document(request.ref.name, version.number, version.signatures))


async def _unless_disconnected(http: Request, work: Coroutine[Any, Any, bytes]) -> bytes:
    """Return the result of `work`, or cancel it when the client disconnects."""
    answer, disconnect = asyncio.ensure_future(work), asyncio.ensure_future(_wait_for_disconnect(http))
    try:
        await asyncio.wait({answer, disconnect}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientDisconnect
        return answer.result()
    finally:
        answer.cancel()
        disconnect.cancel()


async def _wait_for_disconnect(http: Request) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass


def _model_ref(match: re.Match[str]) -> ModelRef:
    """Return the model and the version that a path names."""
    version = match["version"]
    if version and int(version) > _MAX_VERSION:
        raise invalid_argument(f"Failed to convert version: {version} to numeric.")
    label = unquote(match["label"]) if match["label"] else None
    return ModelRef(unquote(match["model"] or ""), int(version) if version else None, label)


def _check_named(ref: ModelRef) -> None:
    if not ref.name:
        raise invalid_argument("Missing model name in request.")
