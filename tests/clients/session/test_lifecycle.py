"""Where and how long a client may be used, and what its settings may be: each mistake says what would do."""

from __future__ import annotations

import asyncio
import inspect
import os
import pickle
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from bertbundle import AsyncClient, Client

if TYPE_CHECKING:
    from fakes import FakeServer

TEXTS = [f"wang {number}" for number in range(9)]


def blocking(fakes: Any, **settings: Any) -> Client:
    """Return a client of a model in this process."""
    return Client("nowhere:1", "tiny", transport=fakes.FakeTransport(fakes.Model()), **settings)


def awaiting(fakes: Any) -> AsyncClient:
    """Return an awaiting client of a model in this process."""
    return AsyncClient("nowhere:1", "tiny", transport=fakes.FakeAsyncTransport(fakes.Model()))


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda client: client.entities("wang"), id="one"),
        pytest.param(lambda client: client.entities(TEXTS), id="list"),
        pytest.param(lambda client: list(client.entities(iter(TEXTS))), id="iterator"),
        pytest.param(lambda client: client.manifest(), id="manifest"),
        pytest.param(lambda client: client.status(), id="status"),
    ],
)
def test_closed(fakes: Any, ask: Callable[[Client], Any]) -> None:
    """A client that is closed says so, whatever it is asked; closing it once more does nothing."""
    client = blocking(fakes, rows_per_call=1)
    client.entities("wang")
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="the client is closed"):
        ask(client)


def test_closed_while_in_use(fakes: Any, start: Callable[..., FakeServer]) -> None:
    """What another thread's `close` ends says so, requests that were under way and those that still waited."""
    begun, go_on = threading.Event(), threading.Event()
    answers = fakes.answers_of(fakes.Model())

    def predict(data: bytes, context: grpc.ServicerContext) -> Any:
        if b"bundle_info" not in data:
            begun.set()
            go_on.wait(20)
        return answers(data, context)

    client = Client(start(predict).address, "tiny", concurrency=2, rows_per_call=1)

    def close() -> None:
        begun.wait(20)
        client.close()

    closer = threading.Thread(target=close)
    closer.start()
    with pytest.raises(RuntimeError, match="closed while it was in use"):
        client.entities(TEXTS)
    go_on.set()
    closer.join()


@pytest.mark.parametrize("kind", [blocking, awaiting])
def test_another_process(fakes: Any, kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process that was forked off, where gRPC and threads would hang, a client says where to make one."""
    client = kind(fakes)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(RuntimeError, match="create one in each process"):
        asyncio.run(_awaited(client.entities, "wang"))


async def _awaited(ask: Any, text: str) -> Any:
    answer = ask(text)
    return await answer if inspect.isawaitable(answer) else answer


@pytest.mark.parametrize("kind", [blocking, awaiting])
def test_pickled(fakes: Any, kind: Any) -> None:
    """A client that is handed to another process says where to make one."""
    with pytest.raises(TypeError, match="cannot be pickled: create one in each process"):
        pickle.dumps(kind(fakes))


def test_another_event_loop(fakes: Any) -> None:
    """An awaiting client belongs to the loop of its first use, and says so in another one, and when it is closed."""
    client = awaiting(fakes)
    asyncio.run(client.entities("wang"))
    with pytest.raises(RuntimeError, match=r"another event loop: create one in each `asyncio\.run`"):
        asyncio.run(client.entities("wang"))
    asyncio.run(client.close())
    with pytest.raises(RuntimeError, match="the client is closed"):
        asyncio.run(client.status())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param(
            {"retries": 3}, r"retries must be a Retries, Retries\(attempts=1\) for none, got int: 3", id="retries"
        ),
        pytest.param(
            {"tls": True}, r"tls must be a Tls, Tls\(\) for gRPC's default authorities, got bool: True", id="tls"
        ),
        pytest.param({"timeout": None}, "timeout must be a number of seconds, got NoneType", id="timeout"),
        pytest.param({"hedge_after": "1"}, "hedge_after must be a number of seconds, got str: '1'", id="hedge_after"),
        pytest.param({"concurrency": 1.5}, "concurrency must be a whole number, got float", id="concurrency"),
        pytest.param(
            {"metadata": [("a", "b")]}, "metadata must be a mapping of names to values, got list", id="metadata"
        ),
        pytest.param({"metadata": {"a": 5}}, "metadata 'a' must be a str, got int: 5", id="metadata_value"),
        pytest.param({"token": b"x"}, "token must be a str, or a function that returns one, got bytes", id="token"),
        pytest.param(
            {"server": ["a:1", "b:1"]}, "server must be a str, with several addresses separated by commas", id="server"
        ),
        pytest.param({"model": None}, "model must be the model's name, got NoneType", id="model"),
    ],
)
def test_settings_of_another_type(settings: dict[str, Any], message: str) -> None:
    """A setting of another type is refused when the client is made, with what would do."""
    with pytest.raises(TypeError, match=message):
        Client(**{"server": "localhost:1", "model": "tiny", **settings})
