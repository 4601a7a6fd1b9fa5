"""A network that drops, delays, truncates and resets: no call hangs, none is answered wrongly."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bertbundle import AsyncClient, Client, Retries, ServerError
from chaos import FAULTS, ChaosProxy

TEXTS = ["a", "Wang lives in Berlin", "b c", "王建国", "in Berlin " * 6, "today"] * 20
EXPECTED = [[], ["Wang", "Berlin"], [], ["王建国"], ["Berlin"] * 6, []] * 20
RETRIES = Retries(first_pause=0.01, longest_pause=0.05, budget=1000)
SECONDS = 2.0
SLACK = 1.0
"""Seconds for tokenizing and for a busy machine, beyond the deadline."""


@pytest.fixture
def proxy(fakes: Any, start: Callable[..., Any]) -> Iterator[ChaosProxy]:
    """A proxy to a server of the small model."""
    made = ChaosProxy(start(fakes.answers_of(fakes.Model()), fakes.available).address)
    yield made
    made.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "hedge_after"),
    [*(pytest.param(fault, None, id=fault) for fault in sorted(FAULTS)), pytest.param("drop", 0.05, id="drop-hedged")],
)
def test_no_wrong_answer_and_no_hang(proxy: ChaosProxy, fault: str, hedge_after: float | None) -> None:
    """Under each fault calls end by their deadline, with the right answer or a ServerError."""
    answered = 0
    settings: dict[str, Any] = {"timeout": SECONDS, "retries": RETRIES, "rows_per_call": 8, "hedge_after": hedge_after}
    with Client(proxy.address, "tiny", **settings) as client:
        client.manifest()
        proxy.faults = ("pass", "pass", "pass", fault)
        for _ in range(6):
            begun = time.monotonic()
            try:
                answers = client.entities(TEXTS)
            except ServerError:
                pass
            else:
                assert [[entity.text for entity in each] for each in answers] == EXPECTED
                answered += 1
            assert time.monotonic() - begun < SECONDS + SLACK
        proxy.faults = ("pass",)
        assert recovered(client)
    assert answered >= (6 if fault in ("pass", "delay") else 0)


def recovered(client: Client) -> bool:
    """Tell whether the client answers again, within the time that a connection may take to be made anew."""
    end = time.monotonic() + 20
    answer: list[str] = []
    while not answer and time.monotonic() < end:
        with contextlib.suppress(ServerError):
            answer = [entity.text for entity in client.entities("Wang")]
    return answer == ["Wang"]


@pytest.mark.parametrize("hedge_after", [None, 0.05], ids=["plain", "hedged"])
def test_awaiting_client(proxy: ChaosProxy, hedge_after: float | None) -> None:
    """The awaiting client under all faults at once: right answers or errors, by the deadline."""
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
                    assert [[entity.text for entity in each] for each in outcome] == EXPECTED

    asyncio.run(ask())
