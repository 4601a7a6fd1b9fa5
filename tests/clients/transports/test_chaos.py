"""Clients behind an unreliable network: no call hangs, and no result is wrong."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bertbundle import AsyncClient, Client, Retries, ServerError
from chaos import FAULTS, ChaosProxy
from fakes import FakeServer, predict_method, status_method

TEXTS = ["a", "Wang lives in Berlin", "b c", "王建国", "in Berlin " * 6, "today"] * 20
EXPECTED = [[], ["Wang", "Berlin"], [], ["王建国"], ["Berlin"] * 6, []] * 20
RETRIES = Retries(first_pause=0.01, longest_pause=0.05, budget=1000)
SECONDS = 2.0
SLACK = 2.5
"""Seconds for tokenization on a busy machine; less than the 5 after which a dead connection is closed by itself."""


@pytest.fixture
def proxy(start_server: Callable[..., FakeServer]) -> Iterator[ChaosProxy]:
    """A proxy in front of a server of the small model."""
    proxy = ChaosProxy(start_server(predict_method(), status_method).address)
    yield proxy
    proxy.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "hedge_after"),
    [*(pytest.param(fault, None, id=fault) for fault in sorted(FAULTS)), pytest.param("drop", 0.05, id="drop-hedged")],
)
def test_no_wrong_result_and_no_hang(proxy: ChaosProxy, fault: str, hedge_after: float | None) -> None:
    """With each fault, calls end by their deadline with the right result or a ServerError."""
    answered = 0
    seconds = SECONDS / 2 if fault == "drop" else SECONDS  # most calls without an answer last until their deadline
    settings: dict[str, Any] = {"timeout": seconds, "retries": RETRIES, "rows_per_call": 8, "hedge_after": hedge_after}
    with Client(proxy.address, "tiny", **settings) as client:
        client.manifest()
        proxy.faults = ("pass", "pass", "pass", fault)
        for _ in range(6):
            begun = time.monotonic()
            try:
                results = client.entities(TEXTS)
            except ServerError:
                pass
            else:
                assert [[entity.text for entity in entities] for entities in results] == EXPECTED
                answered += 1
            assert time.monotonic() - begun < seconds + SLACK
        proxy.faults = ("pass",)
        assert recovered(client)
    assert answered >= (6 if fault in ("pass", "delay") else 0)


def recovered(client: Client) -> bool:
    """Return whether the client works again within the time that gRPC may take to reconnect."""
    end = time.monotonic() + 20
    texts: list[str] = []
    while not texts and time.monotonic() < end:
        with contextlib.suppress(ServerError):
            texts = [entity.text for entity in client.entities("Wang")]
    return texts == ["Wang"]


@pytest.mark.parametrize("hedge_after", [None, 0.05], ids=["plain", "hedged"])
def test_async_client(proxy: ChaosProxy, hedge_after: float | None) -> None:
    """With all faults at once, calls of the async client end in time with the right result or a ServerError."""
    twice = f"{proxy.address},{proxy.address}" if hedge_after else proxy.address
    settings: dict[str, Any] = {"timeout": SECONDS, "retries": RETRIES, "hedge_after": hedge_after}

    async def ask() -> None:
        async with AsyncClient(twice, "tiny", **settings) as client:
            await client.manifest()
            proxy.faults = ("pass", "pass", "pass", "pass", *FAULTS)
            begun = time.monotonic()
            outcomes = await asyncio.gather(*(client.entities(TEXTS) for _ in range(6)), return_exceptions=True)
            assert time.monotonic() - begun < SECONDS + SLACK
            for outcome in outcomes:
                if isinstance(outcome, BaseException):
                    assert isinstance(outcome, ServerError)
                else:
                    assert [[entity.text for entity in entities] for entities in outcome] == EXPECTED

    asyncio.run(ask())
