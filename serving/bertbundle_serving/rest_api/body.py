"""Read the body of an HTTP request, with a limit on its size."""

from __future__ import annotations

import asyncio
import zlib

from starlette.requests import Request

from bertbundle_serving.dataplane.admission import AdmissionControl
from bertbundle_serving.errors import RequestError, deadline_exceeded, invalid_argument

__all__ = ["read_body"]


async def read_body(http: Request, admission: AdmissionControl, *, max_bytes: int, timeout_seconds: float) -> bytes:
    """Receive the body of a request and decompress it. A body that is too large is rejected before it is complete.

    Raises:
        RequestError: RESOURCE_EXHAUSTED, this body or all bodies together are too large; DEADLINE_EXCEEDED;
            INVALID_ARGUMENT, the body is not gzip although its Content-Encoding says so.
    """
    try:
        return await asyncio.wait_for(_receive(http, admission, max_bytes), timeout_seconds)
    except asyncio.TimeoutError as error:
        raise deadline_exceeded() from error


async def _receive(http: Request, admission: AdmissionControl, max_bytes: int) -> bytes:
    body = bytearray()
    try:
        async for chunk in http.stream():
            body += chunk
            admission.reserve(len(chunk))
            if len(body) > max_bytes:
                raise _too_large(max_bytes)
    finally:
        admission.release(len(body))
    # As TensorFlow Serving does: anything with "gzip" in it, also x-gzip, but GZIP is taken for plain.
    if "gzip" not in http.headers.get("content-encoding", ""):
        return bytes(body)
    return await asyncio.to_thread(_decompress, bytes(body), max_bytes)


def _decompress(body: bytes, max_bytes: int) -> bytes:
    gzip = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        data = gzip.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise invalid_argument("the Content-Encoding is gzip, but the body is not gzip") from error
    if len(data) > max_bytes:
        raise _too_large(max_bytes)
    if not gzip.eof or gzip.unused_data:
        problem = "bytes follow its end" if gzip.eof else "it is truncated"
        raise invalid_argument(f"the Content-Encoding is gzip, but the body is not one gzip stream: {problem}")
    return data


def _too_large(max_bytes: int) -> RequestError:
    return RequestError("RESOURCE_EXHAUSTED", f"Received message larger than max ({max_bytes} bytes)")
