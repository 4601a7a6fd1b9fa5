"""The asyncio runner: concurrency, iterators, timeouts and hedged requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bertbundle import AsyncClient, DeadlineExceeded, ServerUnavailable
from fakes import FakeAsyncTransport, Model, make_manifest
from slow_server import SLOW_SECONDS, SlowServer

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
