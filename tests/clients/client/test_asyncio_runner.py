"""The asyncio runner: concurrency, iterators, timeouts and hedged requests."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from bertbundle import AsyncClient, DeadlineExceeded, ServerUnavailable
from bertbundle.decoding.decoders import DECODERS
from bertbundle.decoding.loaded_model import load_bundle_info
from bertbundle.session.batches import AskOptions
from fakes import FakeAsyncTransport, Model, make_manifest
from slow_server import SLOW_SECONDS, SlowServer
from waiting import SECONDS

HEDGE_AFTER = 0.05


def test_concurrency_and_order() -> None:
    """At most `concurrency` requests are in flight, and results are in the order of the texts."""
    transport = FakeAsyncTransport(Model(make_manifest("regression")))
    texts = ["a" if index % 3 else "b c a b" for index in range(300)]

    async def main() -> list[float]:
        async with AsyncClient("", "tiny", transport=transport, concurrency=3, rows_per_call=10) as client:
            return await client.regress(texts)

    assert asyncio.run(main()) == [17 if text == "a" else 18 for text in texts]
    assert transport.max_running == 3


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_iterators(kind: str) -> None:
    """Results of a plain or an async iterator are returned in order."""

    async def async_texts() -> AsyncIterator[str]:
        for text in ("wang", "in", "a"):
            yield text

    async def main() -> list[float]:
        transport = FakeAsyncTransport(Model(make_manifest("regression")))
        async with AsyncClient("", "tiny", transport=transport) as client:
            texts = async_texts() if kind == "async" else iter(["wang", "in", "a"])
            return [value async for value in client.regress(texts)]

    assert asyncio.run(main()) == [4, 6, 17]


def test_timeout_includes_retries() -> None:
    """The timeout of a method call includes its requests, retries and pauses."""

    class UnavailableTransport(FakeAsyncTransport):
        async def predict(self, *_: Any, timeout: float, **__: Any) -> Any:
            await asyncio.sleep(min(timeout, 0.05))
            raise ServerUnavailable("unavailable", code="UNAVAILABLE")

    async def main() -> None:
        async with AsyncClient("", "tiny", transport=UnavailableTransport(), timeout=0.2) as client:
            await client.entities("wang")

    with pytest.raises((ServerUnavailable, DeadlineExceeded)):
        asyncio.run(main())


@pytest.mark.usefixtures("first_address_first")
def test_first_response_is_used(slow: SlowServer, fast: str) -> None:
    """Requests to a slow server are hedged to the fast one, and the slow server's calls are cancelled."""

    async def main() -> None:
        async with AsyncClient(f"{slow.address},{fast}", "tiny", hedge_after=HEDGE_AFTER) as client:
            for _ in range(6):
                assert [entity.text for entity in await client.entities("wang")] == ["wang"]
            assert slow.calls >= 2
            assert all([await asyncio.to_thread(slow.cancelled.acquire, timeout=5) for _ in range(slow.calls)])

    begin = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - begin < SLOW_SECONDS / 2


LONG = "wang " * 2000


def blocking_decoder() -> tuple[Any, threading.Event, threading.Event]:
    """Return a decoder, an event that it sets when it starts, and one that it waits for."""
    started, end = threading.Event(), threading.Event()

    def decode(_: object) -> bool:
        started.set()
        return end.wait(SECONDS)

    return replace(DECODERS["regression"], decode=decode), started, end


@pytest.mark.parametrize("texts", [LONG, [LONG], ["wang"] * 2000, ("in", LONG)], ids=["one", "list", "many", "pair"])
def test_long_texts_leave_the_event_loop_free(texts: Any) -> None:
    """While long texts are tokenized and decoded, other coroutines run."""
    decoder, started, end = blocking_decoder()

    async def main() -> Any:
        transport = FakeAsyncTransport(Model(make_manifest("regression")))
        async with AsyncClient("", "tiny", transport=transport) as client:
            asked = asyncio.ensure_future(client.ask(decoder, texts, AskOptions("truncate")))
            while not started.is_set():
                await asyncio.sleep(0.001)
            assert await client.regress("wang") == 4  # in the loop, not in one of the threads
            end.set()
            return await asked

    result = asyncio.run(main())
    assert result is True or set(result) == {True}


def test_short_texts_need_no_thread() -> None:
    """A short text is computed in the thread of the event loop."""
    decoder = replace(DECODERS["regression"], decode=lambda _: threading.current_thread())

    async def main() -> Any:
        transport = FakeAsyncTransport(Model(make_manifest("regression")))
        async with AsyncClient("", "tiny", transport=transport) as client:
            await client.manifest()
            return await client.ask(decoder, ["wang"] * 3, AskOptions())

    assert asyncio.run(main()) == [threading.current_thread()] * 3


def test_parsing_a_tokenizer_leaves_the_event_loop_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the tokenizer of a model is parsed, other coroutines run."""
    started, end = threading.Event(), threading.Event()

    def slow(prediction: Any) -> Any:
        started.set()
        assert end.wait(SECONDS)
        return load_bundle_info(prediction)

    monkeypatch.setattr("bertbundle.session.session.load_bundle_info", slow)

    async def main() -> Any:
        transport = FakeAsyncTransport(Model(make_manifest("regression")))
        async with AsyncClient("", "tiny", transport=transport) as client:
            asked = asyncio.ensure_future(client.regress("wang"))
            while not started.is_set():
                await asyncio.sleep(0.001)
            end.set()
            return await asked

    assert asyncio.run(main()) == 4


def test_a_long_text_that_is_given_up() -> None:
    """A caller that gives up does not wait for the thread, and the client answers further texts."""
    decoder, started, end = blocking_decoder()

    async def main() -> Any:
        transport = FakeAsyncTransport(Model(make_manifest("regression")))
        async with AsyncClient("", "tiny", transport=transport) as client:
            asked = asyncio.ensure_future(client.ask(decoder, LONG, AskOptions("truncate")))
            while not started.is_set():
                await asyncio.sleep(0.001)
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
            answer = await client.regress(LONG, truncation="truncate")
            end.set()
            return answer

    assert asyncio.run(main()) == 4
