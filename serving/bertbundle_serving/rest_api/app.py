"""TensorFlow Serving's REST API, as an ASGI application.

Source of paths, order and texts: tensorflow_serving/model_servers/{http_rest_api_handler,http_rest_api_util}.cc.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from bertbundle_serving.dataplane.admission import Front, Request
from bertbundle_serving.dataplane.metrics import CONTENT_TYPE, Metrics
from bertbundle_serving.dataplane.predictor import Do, Predictor, here
from bertbundle_serving.errors import RequestError
from bertbundle_serving.protos import _api_pb2 as api
from bertbundle_serving.repository.repository import ModelRef
from bertbundle_serving.requests.call import Call, make_call
from bertbundle_serving.requests.examples import (
    CLASSIFY_METHOD,
    REGRESS_METHOD,
    classifications,
    example_call,
    regressions,
)
from bertbundle_serving.requests.signature_checks import DEFAULT_SIGNATURE
from bertbundle_serving.rest_api.examples import examples_input, signature_name
from bertbundle_serving.rest_api.json_parser import json_text, parse_object
from bertbundle_serving.rest_api.models import metadata_document, status_document
from bertbundle_serving.rest_api.predictions import encode_json, encode_predictions
from bertbundle_serving.rest_api.tensors import column_inputs, row_inputs
from bertbundle_serving.runtimes.base import SignatureSpec

__all__ = ["RestOptions", "error_response", "json_response", "rest_application"]

_VERSION = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_PREDICTION = re.compile(rf"(?i)/v1/models/(?P<model>[^/:]+){_VERSION}:(?P<method>classify|regress|predict)")
_MODEL = re.compile(rf"(?i)/v1/models(?:/(?P<model>[^/:]+))?{_VERSION}(?:/(?P<metadata>metadata))?")
# Source: tensorflow_serving/model_servers/http_server.cc, ToHTTPStatusCode.
_STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}
_MOST_VERSION = 2**63 - 1
# Bytes of a body that are read in the event loop, a few ms; nobody is answered meanwhile.
_MOST_AT_ONCE = 100_000


@dataclass(frozen=True, slots=True)
class RestOptions:
    """How the REST API answers.

    Attributes:
        seconds: the deadline of every request.
        cors: whether pages of other origins may ask.
        metrics_path: where the metrics are; None for nowhere.
        message_bytes: largest body.
    """

    seconds: float = 30.0
    cors: bool = False
    metrics_path: str | None = None
    message_bytes: int = 64 << 20


def rest_application(
    predictor: Predictor, front: Front, metrics: Metrics, options: RestOptions, more: tuple[BaseRoute, ...] = ()
) -> Starlette:
    """Return the application; `more` are routes beside TensorFlow Serving's."""
    rest = _Rest(predictor, front, options)

    async def show_metrics(request: HttpRequest) -> Response:
        del request
        return Response(metrics.exposition(), media_type=CONTENT_TYPE)

    routes: list[BaseRoute] = [*more]
    if options.metrics_path is not None:
        routes.append(Route(options.metrics_path, show_metrics, methods=["GET"]))
    every = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
    routes.append(Route("/{path:path}", rest.handle, methods=every))
    application = Starlette(routes=routes, exception_handlers={404: rest.refuse})
    application.router.redirect_slashes = False
    return application


def json_response(document: Any, *, status: int = 200, cors: bool = False) -> Response:
    """Return a response that holds a JSON document."""
    return _response(encode_json(document), status, cors=cors)


def error_response(error: RequestError, *, cors: bool = False) -> Response:
    """Return the response that tells an error."""
    return json_response({"error": error.message}, status=_STATUS.get(error.code, 500), cors=cors)


def _response(body: bytes, status: int, *, cors: bool) -> Response:
    return Response(body, status, headers=_CORS if cors else None, media_type="application/json")


class _Rest:
    def __init__(self, predictor: Predictor, front: Front, options: RestOptions) -> None:
        self._predictor = predictor
        self._front = front
        self._options = options
        self._methods: Mapping[str, Callable[[Do, ModelRef, Mapping[str, Any]], Awaitable[bytes]]] = {
            "predict": self._predict,
            "classify": self._classify,
            "regress": self._regress,
        }

    async def handle(self, http: HttpRequest) -> Response:
        """Answer any request."""
        cors = self._options.cors
        if cors and http.method == "OPTIONS":
            return Response(b"", headers=_CORS)
        try:
            return _response(await _unless_gone(http, await self._work(http)), 200, cors=cors)
        except RequestError as error:
            return error_response(error, cors=cors)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it

    async def refuse(self, http: HttpRequest, error: Exception) -> Response:
        """Answer a request whose path does not even begin with a slash."""
        del error
        return json_response({"error": f"Malformed request: {http.method} {http.scope['path']}"}, status=400)

    async def _work(self, http: HttpRequest) -> Coroutine[Any, Any, bytes]:
        """Read a request, and return what will answer it."""
        path = http.scope.get("raw_path", b"").decode("latin-1").partition("?")[0]
        pattern = {"POST": _PREDICTION, "GET": _MODEL}.get(http.method)
        match = pattern.fullmatch(path) if pattern else None
        if match is None:
            code = "INVALID_ARGUMENT" if path[:4].lower() == "/v1/" else "NOT_FOUND"
            raise RequestError(code, f"Malformed request: {http.method} {path}")
        ref = _model_ref(match)
        if http.method == "GET":
            request = Request(ref.name, _api(match), "REST", 0)
            return self._front.answer(request, self._about(ref, match), self._options.seconds)
        body = await self._body(http)
        method = match["method"].lower()
        request = Request(ref.name, method.capitalize(), "REST", len(body))
        return self._front.answer(request, self._answer(method, ref, body), self._options.seconds)

    async def _body(self, http: HttpRequest) -> bytes:
        """Read the body, within the deadline and the limit: what is too large is not gathered first."""
        try:
            return await asyncio.wait_for(self._read(http), self._options.seconds)
        except asyncio.TimeoutError as error:
            raise RequestError("DEADLINE_EXCEEDED", "Timed out waiting for notification") from error

    async def _read(self, http: HttpRequest) -> bytes:
        body, limit = bytearray(), self._options.message_bytes
        try:
            async for chunk in http.stream():
                body += chunk
                self._front.arrive(len(chunk))
                if len(body) > limit:
                    raise _too_large(limit)
        finally:
            self._front.left(len(body))
        if http.headers.get("content-encoding", "").lower() != "gzip":
            return bytes(body)
        return await asyncio.to_thread(_unzip, bytes(body), limit)

    async def _answer(self, method: str, ref: ModelRef, body: bytes) -> bytes:
        do = here if len(body) <= _MOST_AT_ONCE else asyncio.to_thread
        return await self._methods[method](do, ref, await do(parse_object, body))

    async def _predict(self, do: Do, ref: ModelRef, document: Mapping[str, Any]) -> bytes:
        name = signature_name(document)
        answer = await self._predictor.run(ref, lambda signatures: _predict_call(signatures, name, document), do)
        return await encode_predictions(answer.outputs, by_row="instances" in document)

    async def _classify(self, do: Do, ref: ModelRef, document: Mapping[str, Any]) -> bytes:
        name, examples = signature_name(document), await do(examples_input, document)
        answer = await self._predictor.run(ref, lambda s: example_call(s, name, CLASSIFY_METHOD, examples))
        result = classifications(answer.outputs, _rows(examples))
        return encode_json({"results": [[[c.label, c.score] for c in row.classes] for row in result.classifications]})

    async def _regress(self, do: Do, ref: ModelRef, document: Mapping[str, Any]) -> bytes:
        name, examples = signature_name(document), await do(examples_input, document)
        answer = await self._predictor.run(ref, lambda s: example_call(s, name, REGRESS_METHOD, examples))
        result = regressions(answer.outputs, _rows(examples))
        return encode_json({"results": [row.value for row in result.regressions]})

    async def _about(self, ref: ModelRef, match: re.Match[str]) -> bytes:
        if not ref.name:
            raise _invalid("Missing model name in request.")
        repository = self._predictor.repository
        if not match["metadata"]:
            return encode_json(status_document(repository.statuses(ref)))
        with repository.use(ref) as version:
            return encode_json(metadata_document(ref.name, version.number, version.servable.signatures))


async def _unless_gone(http: HttpRequest, work: Coroutine[Any, Any, bytes]) -> bytes:
    """Return what `work` returns, but stop it when the caller leaves: nobody computes for one who has left."""
    answer, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(http))
    try:
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientDisconnect
        return answer.result()
    finally:
        answer.cancel()
        gone.cancel()


async def _gone(http: HttpRequest) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass


def _api(match: re.Match[str]) -> str:
    return "GetModelMetadata" if match["metadata"] else "GetModelStatus"


def _model_ref(match: re.Match[str]) -> ModelRef:
    version = match["version"]
    if version and int(version) > _MOST_VERSION:
        raise _invalid(f"Failed to convert version: {version} to numeric.")
    label = unquote(match["label"]) if match["label"] else None
    return ModelRef(unquote(match["model"] or ""), int(version) if version else None, label)


def _predict_call(signatures: Mapping[str, SignatureSpec], name: str, document: Mapping[str, Any]) -> Call:
    signature = signatures.get(name or DEFAULT_SIGNATURE)
    if signature is None:
        raise _invalid(f'Serving signature name: "{name or DEFAULT_SIGNATURE}" not found in signature def')
    if "instances" in document and "inputs" in document:
        raise _invalid(
            f"JSON Value: {json_text(document)} Not formatted correctly expecting only "
            "one of 'inputs' or 'instances' keys to exist "
        )
    if "instances" in document:
        inputs = row_inputs(document["instances"], signature.inputs, document)
    elif "inputs" in document:
        inputs = column_inputs(document["inputs"], signature.inputs)
    else:
        raise _invalid("Missing 'inputs' or 'instances' key")
    return make_call(signature, {alias: inputs[alias] for alias in sorted(inputs)})


def _rows(examples: api.Input) -> int:
    return len(getattr(examples, str(examples.WhichOneof("kind"))).examples)


def _unzip(body: bytes, limit: int) -> bytes:
    unzip = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        data = unzip.decompress(body, limit + 1)
    except zlib.error as error:
        raise _invalid("the body is not gzip, as its Content-Encoding says") from error
    if len(data) > limit:
        raise _too_large(limit)
    return data


def _too_large(limit: int) -> RequestError:
    return RequestError("RESOURCE_EXHAUSTED", f"Received message larger than max ({limit} bytes)")


def _invalid(message: str) -> RequestError:
    return RequestError("INVALID_ARGUMENT", message)
