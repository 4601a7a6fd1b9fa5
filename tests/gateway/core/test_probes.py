"""Whether models are ready."""

from __future__ import annotations

import pytest

from bertbundle import ModelNotFound, ServerUnavailable, VersionStatus
from bertbundle_gateway.core.errors import RequestError
from bertbundle_gateway.core.models import ClientSettings, ModelRef, Models
from bertbundle_gateway.core.probes import Probes, answering_version
from bertbundle_gateway.core.servers import ServerBackend, Servers
from fakes import FakeAsyncTransport

pytestmark = pytest.mark.anyio
STATES = {1: "END", 2: "AVAILABLE", 3: "LOADING"}


class Server(FakeAsyncTransport):
    """A server with the model `ner`; it has other models, but none of their versions is available."""

    away = False

    async def status(self, model: str, *, timeout: float) -> list[VersionStatus]:
        """See `AsyncTransport.status`."""
        assert timeout == 5
        if self.away:
            raise ServerUnavailable("call to 10.0.0.1:8500 failed", code="UNAVAILABLE")
        if model == "none":
            raise ModelNotFound("Could not find any versions", code="NOT_FOUND")
        states = STATES if model == "ner" else {1: "END"}
        return [VersionStatus(version, state, "OK", "") for version, state in states.items()]


def make(server: Server, *names: str) -> Probes:
    """Return the probes of a gateway with configured models."""
    return Probes(Models(ServerBackend(Servers("a:1", dict.fromkeys(names)), lambda _: server), ClientSettings()))


@pytest.mark.parametrize(
    ("ref", "reason"),
    [
        (ModelRef("ner", version=1), "MODEL_NOT_READY"),
        (ModelRef("ner", version=3), "MODEL_NOT_READY"),
        (ModelRef("ner", version=4), "MODEL_NOT_FOUND"),
        (ModelRef("gone"), "MODEL_NOT_READY"),
        (ModelRef("none"), "MODEL_NOT_FOUND"),
    ],
)
async def test_check(ref: ModelRef, reason: str) -> None:
    """A model is ready if one of its versions is available; a version, if it is."""
    probes = make(Server())
    await probes.check(ModelRef("ner"), timeout=5)
    await probes.check(ModelRef("ner", version=2), timeout=5)
    with pytest.raises(RequestError) as caught:
        await probes.check(ref, timeout=5)
    assert caught.value.reason == reason
    assert caught.value.code == ("NOT_FOUND" if reason == "MODEL_NOT_FOUND" else "UNAVAILABLE")


async def test_ready() -> None:
    """All configured models are asked, and no other: what callers ask for does not matter."""
    server = Server()
    probes = make(server, "ner", "gone")
    with pytest.raises(RequestError):
        await probes.check(ModelRef("made up"), timeout=5)
    assert await probes.ready(timeout=5) == [False, True]
    server.away = True
    assert await probes.ready(timeout=5) == [False, False]
    assert await make(server).ready(timeout=5) == []


@pytest.mark.parametrize(
    ("ref", "version"),
    [
        (ModelRef("ner"), 2),
        (ModelRef("ner", version=2), 2),
        (ModelRef("ner", version=3), None),
        (ModelRef("ner", label="stable"), None),
    ],
)
def test_answering_version(ref: ModelRef, version: int | None) -> None:
    """The newest available version answers, or the one that is named if it is available."""
    assert answering_version([VersionStatus(*item, "OK", "") for item in STATES.items()], ref) == version
