"""Models on servers."""

from __future__ import annotations

import pytest

from bertbundle_gateway.core.batching import BatchingTransport
from bertbundle_gateway.core.servers import ServerBackend, Servers
from fakes import FakeAsyncTransport

pytestmark = pytest.mark.anyio


async def test_addresses() -> None:
    """A model is asked at its own address, or at the default one; an address has one connection."""
    opened: dict[str, FakeAsyncTransport] = {}

    def connect(address: str) -> FakeAsyncTransport:
        assert address not in opened
        opened[address] = FakeAsyncTransport()
        return opened[address]

    backend = ServerBackend(Servers("a:1", {"ner": None, "embed": "b:1,b:2"}), connect)
    assert backend.transport("ner") is backend.transport("other") is opened["a:1"]
    assert backend.transport("embed") is opened["b:1,b:2"]
    assert backend.names() == ["ner", "embed"]
    await backend.close()
    assert [transport.sync.closed for transport in opened.values()] == [True, True]


async def test_only_listed_models() -> None:
    """Without a default address there are only the listed models."""
    backend = ServerBackend(Servers(None, {"ner": "a:1"}), lambda _: FakeAsyncTransport(), batches_in_flight=2)
    assert backend.transport("other") is None
    assert isinstance(backend.transport("ner"), BatchingTransport)


async def test_batches() -> None:
    """What must not be put together with rows of others goes over the same connection, without batches."""
    opened = FakeAsyncTransport()
    backend = ServerBackend(Servers("a:1", {}), lambda _: opened, batches_in_flight=2)
    assert isinstance(backend.transport("ner"), BatchingTransport)
    assert backend.transport("ner", batches=False) is opened
    await backend.close()
    assert opened.sync.closed


@pytest.mark.parametrize(
    ("servers", "lines"),
    [
        (Servers("a:1", {}), ["models on a:1"]),
        (Servers(None, {"ner": "b:1"}), ["model ner on b:1"]),
        (Servers("a:1", {"ner": None}), ["model ner on a:1", "other models on a:1"]),
    ],
)
async def test_description(servers: Servers, lines: list[str]) -> None:
    """The start-up lines say which model is where."""
    assert servers.describe() == lines
