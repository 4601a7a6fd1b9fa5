"""Responses with JSON documents."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from starlette.responses import Response

from bertbundle_gateway.core.errors import RequestError

__all__ = ["check_finite", "json_response"]


def json_response(document: Any, status: int = 200) -> Response:
    """Return a response with a JSON document, which may have numpy arrays and numbers."""
    body = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, status, media_type="application/json")


def check_finite(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an array of which JSON has all numbers.

    Raises:
        RequestError: the array has NaN or infinity, which would become null.
    """
    if not np.isfinite(array).all():
        raise RequestError("INTERNAL", "NOT_FINITE", "The model returned NaN or infinity, which JSON does not have.")
    return array
