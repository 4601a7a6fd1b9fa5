"""Responses with JSON documents."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import orjson
from starlette.responses import Response

from bertbundle_gateway.core.errors import RequestError

__all__ = ["check_finite", "dump_json", "json_response"]


def json_response(document: Any, status: int = 200) -> Response:
    """Return a response with a JSON document, which may have numpy arrays and numbers.

    Raises:
        RequestError: as for `dump_json`.
    """
    return Response(dump_json(document), status, media_type="application/json")


def dump_json(document: Any) -> bytes:
    """Return a JSON document, which may have numpy arrays and numbers.

    Raises:
        RequestError: it has NaN or infinity.
    """
    body = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    if b"null" in body:  # what orjson makes of NaN and infinity, among others
        check_finite(document)
    return body


def check_finite(document: Any) -> None:
    """Check that JSON has all numbers of a document.

    Raises:
        RequestError: one is NaN or infinity.
    """
    if isinstance(document, dict):
        document = list(document.values())
    if isinstance(document, list | tuple):
        for item in document:
            check_finite(item)
    elif not _is_finite(document):
        message = "The model returned NaN or infinity, which JSON does not have. TextService over gRPC returns it."
        raise RequestError("INTERNAL", "NOT_FINITE", message)


def _is_finite(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind != "f" or bool(np.isfinite(value).all())
    return not isinstance(value, float | np.floating) or math.isfinite(value)
