"""The web page at ``/`` of the REST port: the served models, the traffic, and a form to try a model.

The page is one file of this package and loads nothing from elsewhere. Texts are tokenized and outputs decoded by the
client's `Session`, which yields the calls to make: here they go to the engine of this server.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any, TypeVar

import numpy as np
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from bertbundle.contract.heads import MULTI_TASK
from bertbundle.contract.manifest import BUNDLE_INFO, Manifest
from bertbundle.contract.types import PredictCall, Prediction
from bertbundle.decoding.decoders import DECODERS
from bertbundle.errors import BertBundleError, ServerError
from bertbundle.session.batches import AskOptions, CallSettings
from bertbundle.session.session import Flow, Session
from bertbundle.session.version_agreement import answer_many
from bertbundle_serving.dataplane.admission import AdmissionControl, RequestInfo
from bertbundle_serving.engine.engine import Engine
from bertbundle_serving.errors import RequestError, deadline_exceeded
from bertbundle_serving.repository.model import Model
from bertbundle_serving.repository.repository import Repository
from bertbundle_serving.repository.version_labels import ModelRef
from bertbundle_serving.requests.call import find_signature, make_call
from bertbundle_serving.rest_api.json_parser import parse_object
from bertbundle_serving.rest_api.responses import error_response, json_response

__all__ = ["page_routes"]

T = TypeVar("T")
_MAX_BODY_BYTES = 100_000
# Nothing but the page itself: no script, style or request from or to anywhere else.
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:"
)


def page_routes(
    repository: Repository, engine: Engine, admission: AdmissionControl, timeout_seconds: float
) -> list[BaseRoute]:
    """Return the routes of the page; `timeout_seconds` is the deadline of a request."""
    page = _Page(repository, engine, admission, timeout_seconds)
    return [
        Route("/", page.show, methods=["GET"]),
        Route("/ui/state", page.state, methods=["GET"]),
        Route("/ui/ask", page.ask, methods=["POST"]),
    ]


class _Page:
    def __init__(
        self, repository: Repository, engine: Engine, admission: AdmissionControl, timeout_seconds: float
    ) -> None:
        self._repository = repository
        self._engine = engine
        self._admission = admission
        self._timeout_seconds = timeout_seconds
        self._sessions: dict[str, Session] = {}
        self._html = files("bertbundle_serving.ui").joinpath("static/index.html").read_text(encoding="utf-8")

    async def show(self, http: Request) -> Response:
        """Return the page."""
        del http
        return HTMLResponse(self._html, headers={"Content-Security-Policy": _CONTENT_SECURITY_POLICY})

    async def state(self, http: Request) -> Response:
        """Return the models and the number of requests."""
        del http
        try:
            models = [await self._describe(name, model) for name, model in self._repository.models.items()]
        except RequestError as error:  # for example: the version was just unloaded, or the queue is full
            return error_response(error)
        return json_response(
            {"models": models, "requests": self._admission.finished_calls, "seconds": time.monotonic()}
        )

    async def ask(self, http: Request) -> Response:
        """Return the entities in a text, the scores of its classes, or the similarity of two texts."""
        try:
            body = await asyncio.wait_for(_read_body(http), self._timeout_seconds)
            document = parse_object(body)
            with self._admission.admit(RequestInfo(str(document.get("model", "")), "Page", "REST", len(body))):
                return json_response(await asyncio.wait_for(self._answer(document), self._timeout_seconds))
        except asyncio.TimeoutError:
            return error_response(deadline_exceeded())
        except RequestError as error:
            return error_response(error)

    async def _describe(self, name: str, model: Model) -> dict[str, Any]:
        statuses = [{"version": s.version, "state": s.state.name, "message": s.message} for s in model.statuses()]
        versions = model.versions
        signatures = list(versions[max(versions)].signatures) if versions else []
        task, heads = "", {}
        if BUNDLE_INFO in signatures:
            manifest: Manifest = await self._run(name, self._session(name).manifest())
            task, heads = manifest.task, {head: item.task for head, item in manifest.heads.items()}
        return {"name": name, "versions": statuses, "task": task, "heads": heads, "signatures": signatures}

    async def _answer(self, document: Mapping[str, Any]) -> dict[str, Any]:
        model, text, other = (str(document.get(name, "")) for name in ("model", "text", "other"))
        try:
            manifest: Manifest = await self._run(model, self._session(model).manifest())
            inputs = _session_inputs(manifest, text, other)
            results = await self._run(
                model,
                answer_many(self._session(model), DECODERS[manifest.task], inputs, AskOptions(truncation="error")),
            )
        except BertBundleError as error:
            raise RequestError("INVALID_ARGUMENT", str(error)) from error
        tasks = {name: head.task for name, head in manifest.heads.items()}
        return {"task": manifest.task, "text": text, **_TO_JSON[manifest.task](results, tasks)}

    def _session(self, model: str) -> Session:
        if model not in self._repository.models:
            raise RequestError("NOT_FOUND", f"Servable not found for request: {ModelRef(model)}")
        return self._sessions.setdefault(model, Session(CallSettings(model)))

    async def _run(self, model: str, flow: Flow[T]) -> T:
        """Make the calls that a flow yields until it returns."""
        try:
            calls = next(flow)
            while True:
                calls = flow.send([await self._predict(model, call) for call in calls])
        except StopIteration as stop:
            result: T = stop.value
            return result

    async def _predict(self, model: str, call: PredictCall) -> Prediction:
        with self._repository.acquire(ModelRef(model)) as version:
            signature = find_signature(version.signatures, call.signature)
            checked = make_call(signature, dict(sorted(call.inputs.items())), call.outputs)
            return Prediction(await self._engine.submit(version, checked), version.number)


async def _read_body(http: Request) -> bytes:
    body = bytearray()
    async for chunk in http.stream():
        body += chunk
        if len(body) > _MAX_BODY_BYTES:
            raise RequestError("RESOURCE_EXHAUSTED", f"the text is too long, at most {_MAX_BODY_BYTES} bytes")
    return bytes(body)


def _session_inputs(manifest: Manifest, text: str, other: str) -> list[Any]:
    """Return the texts to pass to the session. Tasks that take only one text ignore the second one."""
    tasks = [head.task for head in manifest.heads.values()] or [manifest.task]
    if unknown := [task for task in tasks if task not in _TO_JSON]:
        raise RequestError("UNIMPLEMENTED", f"the page supports {', '.join(_TO_JSON)}; for {unknown[0]} use the client")
    if manifest.task == "feature-extraction":
        return [text, other]
    takes_pair = other and all("pair" in DECODERS[task].takes for task in tasks)
    return [(text, other) if takes_pair else text]


def _entities(results: list[Any]) -> dict[str, Any]:
    return {"entities": [entity.to_dict() for entity in results[0]]}


def _similarity(results: list[Any]) -> dict[str, Any]:
    first, second = results
    norms = float(np.linalg.norm(first) * np.linalg.norm(second))
    if not norms:
        raise ServerError("an embedding of length 0 has no direction.")
    return {"similarity": float(first @ second) / norms}


def _heads(results: list[Any], tasks: Mapping[str, str]) -> dict[str, Any]:
    heads = {name: _TO_JSON[tasks[name]]([result], {}) for name, result in results[0].items()}
    return {"heads": {name: {"task": tasks[name], **answer} for name, answer in heads.items()}}


_TO_JSON: Mapping[str, Callable[[list[Any], Mapping[str, str]], dict[str, Any]]] = {
    "token-classification": lambda results, _: _entities(results),
    "span-classification": lambda results, _: _entities(results),
    "text-classification": lambda results, _: {"scores": dict(results[0].scores)},
    "regression": lambda results, _: {"value": results[0]},
    "feature-extraction": lambda results, _: _similarity(results),
    MULTI_TASK: _heads,
}
"""The results of each supported task as JSON; a model with several heads needs the task of each."""
