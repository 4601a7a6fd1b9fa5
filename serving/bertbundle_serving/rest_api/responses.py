"""HTTP responses with JSON bodies, as TensorFlow Serving writes them."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

from bertbundle_serving.errors import RequestError

__all__ = ["CORS_HEADERS", "body_response", "encode_json", "error_response", "json_response"]

# Source: tensorflow_serving/model_servers/http_server.cc, ToHTTPStatusCode.
_HTTP_STATUS = {
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

CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type, Authorization, X-API-Key",  # with API keys; else unused
}


def encode_json(document: Any) -> bytes:
    """Return a JSON document as TensorFlow Serving prints it; bytes of a request that are not UTF-8 become U+FFFD."""
    text = json.dumps(document, indent=4, ensure_ascii=False)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="surrogateescape").decode(errors="replace").encode()


def body_response(body: bytes, status: int = 200, *, cors: bool = False) -> Response:
    """Return a response with an encoded JSON document."""
    return Response(body, status, headers=CORS_HEADERS if cors else None, media_type="application/json")


def json_response(document: Any, status: int = 200, *, cors: bool = False) -> Response:
    """Return a response with a JSON document."""
    return body_response(encode_json(document), status, cors=cors)


def error_response(error: RequestError, *, cors: bool = False) -> Response:
    """Return the response for an error."""
    return json_response({"error": error.message}, _HTTP_STATUS.get(error.code, 500), cors=cors)
