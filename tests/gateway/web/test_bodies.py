"""Bodies of requests: the bytes in memory are limited, whether or not the requests are complete."""

from __future__ import annotations

import contextlib
import socket

import pytest

from bertbundle_gateway.core.errors import RequestError
from bertbundle_gateway.web.bodies import BodyBudget
from text_api import text_api
from waiting import wait_until

LIMIT = 1000
PART = 900
PATHS = {
    "/v1/models/tagger:entities": ("error", "status"),
    "/v1/embeddings": ("error", "type"),
    "/models/tagger": (),
    "/models/embedder/embed": ("error_type",),
    "/v2/models/tagger/infer": (),
}
"""For each API, where its errors name the kind of error."""
KINDS = {"RESOURCE_EXHAUSTED", "rate_limit_error", "Overloaded"}


def test_budget() -> None:
    """Bytes count until the context of their request ends, also if it ends with an error."""
    budget = BodyBudget(10)
    with budget.count() as first, budget.count() as second:
        first(4)
        second(6)
        with budget.count() as third, pytest.raises(RequestError) as caught:
            third(1)
        assert (caught.value.code, budget.size) == ("RESOURCE_EXHAUSTED", 10)
    assert budget.size == 0


def test_bodies_of_many_requests() -> None:
    """Requests that are being received hold no more memory than the limit: further ones are refused in each API's form,
    and accepted when the first ones are gone.
    """
    head = f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: {LIMIT}\r\n\r\n".encode()
    data = b" " * (4 * (LIMIT - PART) + 1)
    with text_api(message_bytes=LIMIT) as api, contextlib.ExitStack() as slow:
        host, port = api.url.removeprefix("http://").split(":")
        connections = [slow.enter_context(socket.create_connection((host, int(port)))) for _ in range(4)]
        for connection in connections:
            connection.sendall(head + b" " * PART)
        # Four requests have 3600 bytes; at most 4000 are accepted.
        for path, field in PATHS.items():
            wait_until(lambda path=path: api.post(path, data)[0] == 429)  # type: ignore[misc]
            answer = api.post(path, data)[1]
            assert "The bodies of the requests in flight have more than 4000 bytes. Retry later." in str(answer)
            for name in field:
                answer = answer[name]
            assert not field or answer in KINDS
        assert api.post("/v1/models/tagger:entities", {"texts": ["wang"]})[0] == 200, "a small one has room"
        assert api.get("/v2/health/live")[0] == 200
        slow.close()
        wait_until(lambda: api.post("/v1/models/tagger:entities", data)[0] == 400)  # read, and no JSON
        for _ in range(10):
            assert api.post("/v1/models/tagger:entities", {"texts": ["wang " * 100]})[0] == 200
