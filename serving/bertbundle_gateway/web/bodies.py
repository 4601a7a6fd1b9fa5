"""Bodies of requests: strict JSON with any Content-Type, and limits on their sizes, one by one and together."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import orjson
from fastapi import HTTPException, Request

from bertbundle_gateway.core.errors import RequestError, invalid_request

__all__ = ["BodyBudget", "ErrorCarrier", "JsonRequest"]

_JSON = (b"content-type", b"application/json")


class BodyBudget:
    """Counts the bytes of all bodies in memory, also of those that are incomplete: nothing else limits their number.

    Attributes:
        size: number of bytes.
    """

    def __init__(self, limit: int) -> None:
        """Accept at most `limit` bytes at a time."""
        self._limit = limit
        self.size = 0

    @contextlib.contextmanager
    def count(self) -> Iterator[Callable[[int], None]]:
        """Yield a function that counts bytes of one request until the context ends.

        It raises RequestError if there are too many.
        """
        own = 0

        def add(size: int) -> None:
            nonlocal own
            if self.size + size > self._limit:
                message = f"The bodies of the requests in flight have more than {self._limit} bytes. Retry later."
                raise RequestError("RESOURCE_EXHAUSTED", "OVERLOADED", message)
            own += size
            self.size += size

        try:
            yield add
        finally:
            self.size -= own


class ErrorCarrier(HTTPException):
    """Carries an error through FastAPI, which passes on no other exception."""

    def __init__(self, error: RequestError) -> None:
        super().__init__(400)
        self.error = error


class JsonRequest(Request):
    """A request whose body is JSON, whatever its Content-Type is: curl's default is that of a form."""

    def __init__(
        self, request: Request, max_bytes: int, count: Callable[[int], None], json_size: int | None = None
    ) -> None:
        """Take the body of another request.

        Args:
            request: the other request.
            max_bytes: maximum size of the body.
            count: see `BodyBudget.count`.
            json_size: how many bytes at the beginning of the body are the JSON document; None for all.
        """
        headers = [item for item in request.scope["headers"] if item[0] != _JSON[0]]
        super().__init__({**request.scope, "headers": [*headers, _JSON]}, request.receive)
        self._max_bytes = max_bytes
        self._count = count
        self._json_size = json_size

    async def body(self) -> bytes:
        """Return the body.

        Raises:
            HTTPException: it is compressed or too large, or all bodies together are.
        """
        if not hasattr(self, "_body"):
            try:
                self._body = await self._read()
            except RequestError as error:
                raise ErrorCarrier(error) from error
        return self._body

    async def _read(self) -> bytes:
        if self.headers.get("content-encoding", "identity") != "identity":
            raise invalid_request("COMPRESSED_BODY", "Send the body without a Content-Encoding.")
        body = bytearray()
        async for chunk in self.stream():
            if len(body) + len(chunk) > self._max_bytes:
                message = f"The body has more than {self._max_bytes} bytes. Send several requests."
                raise invalid_request("BODY_TOO_LARGE", message)
            self._count(len(chunk))
            body += chunk
        return bytes(body)

    async def json(self) -> Any:
        """Return the document in the body.

        Raises:
            HTTPException: it is not valid JSON.
        """
        body, size = await self.body(), self._json_size
        if size is not None and size > len(body):
            message = f"The JSON document should have {size} bytes, the body has {len(body)}."
            raise ErrorCarrier(invalid_request("INVALID_JSON", message))
        try:
            return orjson.loads(body[:size])
        except orjson.JSONDecodeError as error:
            problem = str(error).replace(": line", ", line")  # it never quotes the body
            message = f"The body is not valid JSON in UTF-8: {problem}."
            raise ErrorCarrier(invalid_request("INVALID_JSON", message)) from error
