"""The page at ``/`` of the REST port: what is served, how busy it is, and a box to try it.

The page is one file of this package and asks for nothing from elsewhere. Texts are tokenized and answers decoded by the
client's own flows, which know no transport: here they ask the predictor.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any, TypeVar

import numpy as np
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from bertbundle.contract.manifest import BUNDLE_INFO, Manifest
from bertbundle.contract.types import PredictCall, Prediction
from bertbundle.decoding.decoders import DECODERS
from bertbundle.errors import BertBundleError, ServerError
from bertbundle.session.batches import AskOptions, CallSettings
from bertbundle.session.session import Flow, Session
from bertbundle.session.version_agreement import answer_many
from bertbundle_serving.dataplane.admission import Front, Request
from bertbundle_serving.dataplane.predictor import Predictor
from bertbundle_serving.errors import RequestError
from bertbundle_serving.repository.model import Model
from bertbundle_serving.repository.repository import ModelRef
from bertbundle_serving.requests.call import make_call
from bertbundle_serving.requests.signature_checks import find_signature
from bertbundle_serving.rest_api.app import error_response, json_response
from bertbundle_serving.rest_api.json_parser import parse_object

__all__ = ["page_routes"]

T = TypeVar("T")
_MOST_BYTES = 100_000
# Nothing but the page itself: no script, style or request to anywhere else.
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:"


def page_routes(predictor: Predictor, front: Front, seconds: float) -> list[BaseRoute]:
    """Return the routes of the page; `seconds` is the deadline of a question."""
    page = _Page(predictor, front, seconds)
    return [
        Route("/", page.show, methods=["GET"]),
        Route("/ui/state", page.state, methods=["GET"]),
        Route("/ui/ask", page.ask, methods=["POST"]),
    ]


class _Page:
    def __init__(self, predictor: Predictor, front: Front, seconds: float) -> None:
        self._predictor = predictor
        self._front = front
        self._seconds = seconds
        self._sessions: dict[str, Session] = {}
        self._html = files("bertbundle_serving.ui").joinpath("static/index.html").read_text(encoding="utf-8")

    async def show(self, http: HttpRequest) -> Response:
        """Return the page."""
        del http
        return HTMLResponse(self._html, headers={"Content-Security-Policy": _POLICY})

    async def state(self, http: HttpRequest) -> Response:
        """Return the models, and how many requests there were."""
        del http
        try:
            models = [await self._describe(name, model) for name, model in self._predictor.repository.models.items()]
        except RequestError as error:  # a version that went meanwhile, a full queue
            return error_response(error)
        return json_response({"models": models, "requests": self._front.answered, "seconds": time.monotonic()})

    async def ask(self, http: HttpRequest) -> Response:
        """Answer a text: entities, scores of classes, or the similarity of two texts."""
        try:
            body = await asyncio.wait_for(_read(http), self._seconds)
            document = parse_object(body)
            request = Request(str(document.get("model", "")), "Page", "REST", len(body))
            return json_response(await self._front.answer(request, self._answer(document), self._seconds))
        except asyncio.TimeoutError:
            return error_response(RequestError("DEADLINE_EXCEEDED", "Timed out waiting for notification"))
        except RequestError as error:
            return error_response(error)

    async def _describe(self, name: str, model: Model) -> dict[str, Any]:
        versions = [{"version": s.version, "state": s.state.name, "message": s.message} for s in model.statuses()]
        version = model.acquire()
        if version is None:
            return {"name": name, "versions": versions, "task": "", "signatures": []}
        signatures = list(version.servable.signatures)
        version.release()
        task = (await self._run(name, self._session(name).manifest())).task if BUNDLE_INFO in signatures else ""
        return {"name": name, "versions": versions, "task": task, "signatures": signatures}

    async def _answer(self, document: Mapping[str, Any]) -> dict[str, Any]:
        model, text, other = (str(document.get(name, "")) for name in ("model", "text", "other"))
        try:
            manifest: Manifest = await self._run(model, self._session(model).manifest())
            texts = _texts(manifest.task, text, other)
            results = await self._run(
                model,
                answer_many(self._session(model), DECODERS[manifest.task], texts, AskOptions(truncation="error")),
            )
        except BertBundleError as error:
            raise RequestError("INVALID_ARGUMENT", str(error)) from error
        return {"task": manifest.task, "text": text, **_SHOWN[manifest.task](results)}

    def _session(self, model: str) -> Session:
        if model not in self._predictor.repository.models:
            raise RequestError("NOT_FOUND", f"Servable not found for request: Latest({model})")
        return self._sessions.setdefault(model, Session(CallSettings(model)))

    async def _run(self, model: str, flow: Flow[T]) -> T:
        """Make the calls a flow wants made until it returns."""
        try:
            calls = next(flow)
            while True:
                calls = flow.send([await self._call(model, call) for call in calls])
        except StopIteration as stop:
            result: T = stop.value
            return result

    async def _call(self, model: str, call: PredictCall) -> Prediction:
        answer = await self._predictor.run(
            ModelRef(model),
            lambda signatures: make_call(
                find_signature(signatures, call.signature), dict(sorted(call.inputs.items())), call.outputs
            ),
        )
        return Prediction(answer.outputs, answer.version)


async def _read(http: HttpRequest) -> bytes:
    body = bytearray()
    async for chunk in http.stream():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise RequestError("RESOURCE_EXHAUSTED", f"the text is too long, at most {_MOST_BYTES} bytes")
    return bytes(body)


def _texts(task: str, text: str, other: str) -> list[Any]:
    """Return what is asked of a model of that task; a second text goes only where one is taken."""
    if task not in _SHOWN:
        raise RequestError("UNIMPLEMENTED", f"the page shows {', '.join(_SHOWN)}; for {task} use the client")
    if task == "feature-extraction":
        return [text, other]
    takes_pair = other and "pair" in DECODERS[task].takes
    return [(text, other) if takes_pair else text]


def _similarity(results: list[Any]) -> dict[str, Any]:
    first, second = results
    size = float(np.linalg.norm(first) * np.linalg.norm(second))
    if not size:
        raise ServerError("an embedding of length 0 has no direction.")
    return {"similarity": float(first @ second) / size}


_SHOWN: Mapping[str, Callable[[list[Any]], dict[str, Any]]] = {
    "token-classification": lambda results: {"entities": [entity.to_dict() for entity in results[0]]},
    "text-classification": lambda results: {"scores": dict(results[0].scores)},
    "feature-extraction": _similarity,
}
