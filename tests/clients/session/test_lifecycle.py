"""A client works in one process and one event loop, until it is closed."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from bertbundle import AsyncClient, Client
from fakes import FakeAsyncTransport, FakeServer, FakeTransport, connect, predict_method

TEXTS = [f"wang {number}" for number in range(9)]


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda client: client.entities("wang"), id="text"),
        pytest.param(lambda client: client.entities(TEXTS), id="list"),
        pytest.param(lambda client: list(client.entities(iter(TEXTS))), id="iterator"),
        pytest.param(lambda client: client.manifest(), id="manifest"),
        pytest.param(lambda client: client.status(), id="status"),
    ],
)
def test_closed(use: Callable[[Client], Any]) -> None:
    """Each method of a closed client raises RuntimeError, and closing it again does nothing."""
    client = connect(FakeTransport(), concurrency=4, rows_per_call=1)
    client.entities("wang")
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="the client is closed"):
        use(client)


def test_closed_while_in_use(start_server: Callable[..., FakeServer]) -> None:
    """If another thread closes the client during a call, the call raises RuntimeError."""
    received, release = threading.Event(), threading.Event()
    answer = predict_method()

    def predict(data: bytes, context: grpc.ServicerContext) -> bytes:
        if b"bundle_info" not in data:
            received.set()
            release.wait(20)
        return answer(data, context)

    client = Client(start_server(predict).address, "tiny", concurrency=2, rows_per_call=1)

    def close() -> None:
        received.wait(20)
        client.close()

    thread = threading.Thread(target=close)
    thread.start()
    with pytest.raises(RuntimeError, match="closed while it was in use"):
        client.entities(TEXTS)
    release.set()
    thread.join()


@pytest.mark.parametrize(
    "make_client",
    [
        pytest.param(lambda: connect(FakeTransport()), id="sync"),
        pytest.param(lambda: AsyncClient("", "tiny", transport=FakeAsyncTransport()), id="async"),
    ],
)
def test_another_process(make_client: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that is used in a forked process, where gRPC and threads would hang, raises RuntimeError."""
    client = make_client()

    async def use() -> Any:
        result = client.entities("wang")
        return await result if inspect.isawaitable(result) else result

    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(RuntimeError, match="create one in each process"):
        asyncio.run(use())


def test_another_event_loop() -> None:
    """An async client raises RuntimeError in another event loop than that of its first use, and after it is closed."""
    client = AsyncClient("", "tiny", transport=FakeAsyncTransport())
    asyncio.run(client.entities("wang"))
    with pytest.raises(RuntimeError, match=r"another event loop: create one in each `asyncio\.run`"):
        asyncio.run(client.entities("wang"))
    asyncio.run(client.close())
    with pytest.raises(RuntimeError, match="the client is closed"):
        asyncio.run(client.status())
