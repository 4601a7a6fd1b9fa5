"""The async client has the methods, results and errors of the sync client."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bertbundle import AsyncClient, Client, InputError, ModelNotFound
from bertbundle.decoding.decoders import DECODERS
from fakes import (
    FakeAsyncTransport,
    FakeServer,
    FakeTransport,
    Model,
    connect,
    make_manifest,
    predict_method,
    status_method,
)

METHODS = sorted(decoder.method for decoder in DECODERS.values())
CALLS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "entities": ("token-classification", ("Wang lives in Berlin",)),
    "classify": ("text-classification", (("wang", "in"),)),
    "embed": ("feature-extraction", (["wang", "a b c"],)),
    "regress": ("regression", ("wang",)),
    "answer": ("question-answering", ("wang", "a b c " * 20 + "Berlin")),
    "fill_mask": ("fill-mask", ("[MASK] lives",)),
    "heads": ("multi-task", ("Wang lives in Berlin",)),
}
"""The task and the arguments of a call of each method."""


@pytest.mark.parametrize("name", [*METHODS, "manifest", "status"])
def test_same_methods(name: str) -> None:
    """Both clients have the same methods with the same parameters."""
    sync_method, async_method = (inspect.signature(getattr(kind, name)) for kind in (Client, AsyncClient))
    assert list(sync_method.parameters.values()) == list(async_method.parameters.values())


def test_same_settings() -> None:
    """Both clients have the same settings with the same defaults."""
    sync_settings, async_settings = (inspect.signature(kind).parameters for kind in (Client, AsyncClient))
    assert list(sync_settings) == list(async_settings)
    assert all(sync_settings[name].default == async_settings[name].default for name in sync_settings)


@pytest.mark.parametrize("method", METHODS)
def test_same_results(method: str) -> None:
    """Each method gives the same result with both clients."""
    task, arguments = CALLS[method]
    model = Model(make_manifest(task))

    async def main() -> Any:
        async with AsyncClient("", "tiny", transport=FakeAsyncTransport(model)) as client:
            return await getattr(client, method)(*arguments)

    np.testing.assert_equal(asyncio.run(main()), getattr(connect(FakeTransport(model)), method)(*arguments))


def test_errors_and_closing() -> None:
    """An invalid text raises the same error, and leaving the `async with` block closes the transport."""
    transport = FakeAsyncTransport()

    async def main() -> None:
        async with AsyncClient("", "tiny", transport=transport) as client:
            await client.entities("")

    with pytest.raises(InputError, match="text 0 is empty"):
        asyncio.run(main())
    assert transport.sync.closed


def test_over_grpc(start_server: Callable[..., FakeServer]) -> None:
    """With a gRPC server, the client returns results, status and manifest, and raises the server's errors."""
    address = start_server(predict_method(), status_method).address

    async def main() -> None:
        async with AsyncClient(address, "tiny") as client:
            entities, status = await asyncio.gather(client.entities("wang"), client.status())
            assert entities[0].text == "wang"
            assert status[1].state == "AVAILABLE"
            assert (await client.manifest()).name == "tiny"
        async with AsyncClient(address, "other") as client:
            with pytest.raises(ModelNotFound):
                await client.entities("wang")

    asyncio.run(main())
