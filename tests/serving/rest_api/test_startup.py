"""Requests that arrive before the models are loaded."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from bertbundle_serving.rest_api.responses import json_response
from bertbundle_serving.rest_api.startup import StartupGate


@pytest.mark.parametrize(
    ("is_stopping", "status", "document"),
    [(False, 200, "answer"), (True, 503, {"error": "the server is shutting down"})],
)
def test_waiting_request(is_stopping: bool, status: int, document: Any) -> None:
    """A request waits until the models are loaded; if the server stops before, it is refused as UNAVAILABLE."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    async def run() -> None:
        loaded = asyncio.Event()
        gate = StartupGate(json_response("answer"), loaded, lambda: is_stopping, ())
        request = asyncio.ensure_future(gate({"type": "http"}, receive, send))
        await asyncio.sleep(0)
        assert sent == []
        loaded.set()
        await request

    asyncio.run(run())
    assert (sent[0]["status"], json.loads(sent[1]["body"])) == (status, document)
