"""The clients of the models."""

from __future__ import annotations

import dataclasses

import pytest

from bertbundle import PredictCall, Prediction
from bertbundle_gateway.core import models
from bertbundle_gateway.core.errors import RequestError
from bertbundle_gateway.core.models import ClientSettings, ModelRef, Models
from bertbundle_gateway.core.servers import ServerBackend, Servers
from fakes import FakeAsyncTransport, Model
from gateways import FakeBackend

pytestmark = pytest.mark.anyio


class Recorder(FakeAsyncTransport):
    """Records the version of each call."""

    def __init__(self) -> None:
        super().__init__(Model())
        self.versions: list[int | str | None] = []

    async def predict(self, call: PredictCall, *, timeout: float) -> Prediction:
        """See `AsyncTransport.predict`."""
        self.versions.append(call.version)
        return await super().predict(dataclasses.replace(call, version=None), timeout=timeout)


@pytest.mark.parametrize("ref", [ModelRef("tiny"), ModelRef("tiny", version=3), ModelRef("tiny", label="stable")])
async def test_versions(ref: ModelRef) -> None:
    """All calls are for the version, or the label, that the request names."""
    transport = Recorder()
    client = Models(FakeBackend(transport), ClientSettings()).client(ref)
    await client.entities("wang")
    assert transport.versions == [ref.choice] * 2


async def test_clients_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model has one client; of too many, the one that was not used for the longest time is dropped."""
    monkeypatch.setattr(models, "_MAX_CLIENTS", 2)
    kept = Models(FakeBackend(Recorder()), ClientSettings())
    one = kept.client(ModelRef("tiny", version=1))
    two = kept.client(ModelRef("tiny", version=2))
    assert kept.client(ModelRef("tiny", version=1)) is one
    kept.client(ModelRef("tiny", version=3))
    assert kept.client(ModelRef("tiny", version=1)) is one
    assert kept.client(ModelRef("tiny", version=2)) is not two
    kept.forget(ModelRef("tiny", version=2))
    assert kept.names() == ["tiny"]


async def test_renewed_clients() -> None:
    """A renewed client takes the place of the other one, but not for a label."""
    kept = Models(FakeBackend(Recorder()), ClientSettings())
    plain, labelled = ModelRef("tiny"), ModelRef("tiny", label="stable")
    before = {ref: kept.client(ref) for ref in (plain, labelled)}
    renewed = {ref: kept.renewed_client(ref) for ref in before}
    assert kept.client(plain) is renewed[plain] is not before[plain]
    assert kept.client(labelled) is before[labelled] is not renewed[labelled]


async def test_names() -> None:
    """A further model is listed once it has answered: a name that somebody made up is not."""
    kept = Models(ServerBackend(Servers("a:1", {"ner": None}), lambda _: Recorder()), ClientSettings())
    client = kept.client(ModelRef("tiny"))
    kept.client(ModelRef("made up", version=3))
    assert kept.names() == ["ner"]
    await client.entities("wang")
    assert kept.names() == ["ner", "tiny"]
    assert kept.configured() == ["ner"]


@pytest.mark.parametrize(
    "ref",
    [
        ModelRef(""),
        ModelRef("tiny", version=-1),
        ModelRef("tiny", version=2**63),
        ModelRef("tiny", label=""),
        ModelRef("tiny", 1, "stable"),
        ModelRef("tiny\ud800"),
    ],
)
async def test_wrong_references(ref: ModelRef) -> None:
    """A reference that no server can have is refused."""
    with pytest.raises(RequestError) as caught:
        Models(FakeBackend(Recorder()), ClientSettings()).client(ref)
    assert caught.value.code == "INVALID_ARGUMENT"
    str(caught.value).encode()


async def test_close() -> None:
    """Closing the models closes the backend."""
    backend = FakeBackend(Recorder())
    await Models(backend, ClientSettings()).close()
    assert backend.closed
