"""The JSON documents about models: of the text API, and of an embedded server without it."""

from __future__ import annotations

import asyncio
from typing import Any

from bertbundle_gateway.core.errors import RequestError
from bertbundle_gateway.core.models import ModelRef
from bertbundle_gateway.core.service import ModelInfo, TextService
from bertbundle_gateway.web.route_names import ROUTE_OF_METHOD, describe_error

__all__ = ["UNKNOWN_MODEL", "model_document", "models_document"]

UNKNOWN_MODEL = {
    "object": "model",
    "created": 0,
    "owned_by": "bertbundle",
    "task": "",
    "route": "",
    "labels": [],
    "heads": {},
    "max_length": 0,
    "versions": [],
    "error": "",
}
"""The fields of a model of which nothing is known but its name."""


async def models_document(service: TextService) -> dict[str, Any]:
    """Return the list of models in OpenAI's form; a model whose server does not answer has an ``error``."""
    data = await asyncio.gather(*(_try_describe(service, name) for name in service.models()))
    return {"object": "list", "data": data}


def model_document(info: ModelInfo) -> dict[str, Any]:
    """Return what is known about a model."""
    manifest = info.manifest
    heads = {name: {"task": head.task, "labels": list(head.labels)} for name, head in manifest.heads.items()}
    return {
        "id": info.name,
        **UNKNOWN_MODEL,
        "task": manifest.task,
        "route": f":{ROUTE_OF_METHOD[info.method]}" if info.method else "",
        "labels": list(manifest.labels),
        "heads": heads,
        "max_length": manifest.max_length,
        "versions": [{"version": status.version, "state": status.state} for status in info.versions],
    }


async def _try_describe(service: TextService, name: str) -> dict[str, Any]:
    try:
        return model_document(await service.describe(ModelRef(name)))
    except RequestError as error:
        return {"id": name, **UNKNOWN_MODEL, "error": describe_error(error)}
