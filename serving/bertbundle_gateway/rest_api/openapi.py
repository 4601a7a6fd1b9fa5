"""The OpenAPI document of an application."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

__all__ = ["openapi_document"]

_FASTAPI_ERRORS = ("HTTPValidationError", "ValidationError")
"""Schemas of FastAPI's own response 422, which no route returns."""
_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}


def openapi_document(application: FastAPI, *, has_keys: bool) -> Callable[[], dict[str, Any]]:
    """Return a function that makes the document once.

    Args:
        application: the application.
        has_keys: whether requests need an API key.
    """

    @functools.cache
    def make() -> dict[str, Any]:
        document: dict[str, Any] = get_openapi(
            title=application.title,
            version=application.version,
            description=application.description,
            routes=application.routes,
        )
        schemas = document["components"]["schemas"]
        for operation in (operation for path in document["paths"].values() for operation in path.values()):
            if _FASTAPI_ERRORS[0] in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
        document["components"]["schemas"] = {name: schemas[name] for name in schemas if name not in _FASTAPI_ERRORS}
        if has_keys:
            document["components"]["securitySchemes"] = _SECURITY
            document["security"] = [{name: []} for name in _SECURITY]
        return document

    return make
