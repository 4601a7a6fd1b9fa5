"""A gateway with REST in front of a server with a small model of each task."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bertbundle_gateway.core.limits import Limits
from fakes import FakeServer, Model, Output, make_manifest, predict_method, status_method
from gateways import running_gateway
from http_calls import fetch

__all__ = ["MODELS", "TextApi", "text_api"]

MODELS: Mapping[str, str] = {
    "tagger": "token-classification",
    "spans": "span-classification",
    "classifier": "text-classification",
    "regressor": "regression",
    "embedder": "feature-extraction",
    "reader": "question-answering",
    "filler": "fill-mask",
    "joint": "multi-task",
}
"""The task of each model by its name."""


@dataclass(frozen=True)
class TextApi:
    """The addresses of a gateway, and the server behind it.

    Attributes:
        url: the root URL of its REST API.
        address: ``host:port`` of its gRPC API.
        server: the server.
    """

    url: str
    server: FakeServer
    address: str = ""

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        """Send JSON, or bytes as they are; return the status and the JSON document of the response."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, _, answer = fetch(f"{self.url}{path}", data=data, headers=headers)
        return status, json.loads(answer)

    def get(self, path: str, **headers: str) -> tuple[int, Any]:
        """Return the status and the JSON document of a response; None for an empty one."""
        status, _, answer = fetch(f"{self.url}{path}", headers=headers)
        return status, json.loads(answer) if answer else None


@contextlib.contextmanager
def text_api(overrides: Mapping[str, Output | None] | None = None, **options: Any) -> Iterator[TextApi]:
    """Run a gateway in front of a server.

    Args:
        overrides: outputs of the models; see `fakes.Model`.
        **options: fields of `GatewayOptions`.
    """
    models = {name: Model(make_manifest(task), overrides=overrides or {}) for name, task in MODELS.items()}
    server = FakeServer(predict_method(models=models), status_method)
    names: dict[str, str | None] = dict.fromkeys(MODELS)
    limits = Limits(texts=100, characters=10_000)
    try:
        with running_gateway(server.address, names, rest_port=0, **{"limits": limits, **options}) as running:
            yield TextApi(f"http://127.0.0.1:{running.gateway.rest_port}", server, running.address)
    finally:
        server.stop()
