"""The awaiting client: the same questions, answers and errors as the blocking one's."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bertbundle import AsyncClient, Client, DeadlineExceeded, InputError, ModelNotFound, ServerUnavailable
from bertbundle.decoding.decoders import DECODERS

if TYPE_CHECKING:
    from fakes import FakeServer

METHODS = sorted(decoder.method for decoder in DECODERS.values())
ASKED: dict[str, tuple[str, tuple[Any, ...]]] = {
    "entities": ("token-classification", ("Wang lives in Berlin",)),
    "classify": ("text-classification", (("wang", "in"),)),
    "embed": ("feature-extraction", (["wang", "a b c"],)),
    "regress": ("regression", ("wang",)),
    "answer": ("question-answering", ("wang", "a b c " * 20 + "Berlin")),
    "fill_mask": ("fill-mask", ("[MASK] lives",)),
}


def run(transport: Any, ask: Callable[[AsyncClient], Coroutine[Any, Any, Any]], **options: Any) -> Any:
    """Run a coroutine of a client of the model ``tiny``."""

    async def main() -> Any:
        async with AsyncClient("nowhere:1", "tiny", transport=transport, **options) as client:
            return await ask(client)

    return asyncio.run(main())


@pytest.mark.parametrize("name", [*METHODS, "manifest", "status"])
def test_methods_are_the_same(name: str) -> None:
    """Both clients have the same methods with the same parameters."""
    blocking, awaiting = (inspect.signature(getattr(kind, name)) for kind in (Client, AsyncClient))
    assert list(blocking.parameters.values()) == list(awaiting.parameters.values())


def test_constructors_are_the_same() -> None:
    """Both clients take the same settings."""
    blocking, awaiting = (inspect.signature(kind).parameters for kind in (Client, AsyncClient))
    assert list(blocking) == list(awaiting)
    assert all(blocking[name].default == awaiting[name].default for name in blocking)


@pytest.mark.parametrize("method", METHODS)
def test_answers_are_the_same(fakes: Any, method: str) -> None:
    """Each question has the same answer from both clients."""
    task, arguments = ASKED[method]
    model = fakes.Model(fakes.make_manifest(task))
    blocking = getattr(Client("nowhere:1", "tiny", transport=fakes.FakeTransport(model)), method)(*arguments)
    awaiting = run(fakes.FakeAsyncTransport(model), lambda client: getattr(client, method)(*arguments))
    np.testing.assert_equal(awaiting, blocking)


def test_order_and_concurrency(fakes: Any) -> None:
    """Answers come in order, and never are more requests in flight than the client may have."""
    transport = fakes.FakeAsyncTransport(fakes.Model(fakes.make_manifest("regression")))
    texts = ["a" if index % 3 else "b c a b" for index in range(300)]
    values = run(transport, lambda client: client.regress(texts), concurrency=3, rows_per_call=10)
    assert values == [17 if text == "a" else 18 for text in texts]
    assert transport.most == 3


@pytest.mark.parametrize("kind", ["plain", "asynchronous"])
def test_iterators(fakes: Any, kind: str) -> None:
    """An iterator, plain or asynchronous, is answered one after the other."""

    async def later() -> AsyncIterator[str]:
        for text in ("wang", "in", "a"):
            yield text

    async def ask(client: AsyncClient) -> list[float]:
        texts = later() if kind == "asynchronous" else iter(["wang", "in", "a"])
        return [value async for value in client.regress(texts)]

    transport = fakes.FakeAsyncTransport(fakes.Model(fakes.make_manifest("regression")))
    assert run(transport, ask) == [4, 6, 17]


def test_errors_and_closing(fakes: Any) -> None:
    """A mistake is the same error, and leaving the context closes the connection."""
    transport = fakes.FakeAsyncTransport()
    with pytest.raises(InputError, match="text 0 is empty"):
        run(transport, lambda client: client.entities(""))
    assert transport.inner.closed


def test_over_grpc(fakes: Any, start: Callable[..., FakeServer]) -> None:
    """Over a real connection it answers, reports status, and knows the server's errors."""
    address = start(fakes.answers_of(fakes.Model()), fakes.available).address

    async def ask() -> None:
        async with AsyncClient(address, "tiny") as client:
            entities, status = await asyncio.gather(client.entities("wang"), client.status())
            assert entities[0].text == "wang"
            assert status[1].state == "AVAILABLE"
            assert (await client.manifest()).name == "tiny"
        async with AsyncClient(address, "other") as client:
            with pytest.raises(ModelNotFound):
                await client.entities("wang")

    asyncio.run(ask())


def test_deadline(fakes: Any) -> None:
    """The timeout covers retries and pauses, and a call that is slow."""

    class Away(fakes.FakeAsyncTransport):  # type: ignore[misc]
        async def predict(self, *_: Any, timeout: float, **__: Any) -> Any:
            await asyncio.sleep(min(timeout, 0.05))
            raise ServerUnavailable("away", code="UNAVAILABLE")

    with pytest.raises((ServerUnavailable, DeadlineExceeded)):
        run(Away(), lambda client: client.entities("wang"), timeout=0.2)
