"""Whether models are ready."""

from __future__ import annotations

import pytest

from bertbundle import ModelNotFound, ServerUnavailable, VersionStatus
from bertbundle_gateway.core.errors import RequestError
from bertbundle_gateway.core.models import ClientSettings, ModelRef, Models
from bertbundle_gateway.core.probes import OTHER_MODELS, Probes, Readiness, answering_version
from bertbundle_gateway.core.servers import ServerBackend, Servers
from fakes import FakeAsyncTransport

pytestmark = pytest.mark.anyio
STATES = {1: "END", 2: "AVAILABLE", 3: "LOADING"}


class Server(FakeAsyncTransport):
    """A server with the model `ner`; it has other models, but none of their versions is available."""

    away = False

    def __init__(self) -> None:
        super().__init__()
        self.timeouts: list[float] = []

    async def status(self, model: str, *, timeout: float) -> list[VersionStatus]:
        """See `AsyncTransport.status`."""
        self.timeouts.append(timeout)
        if self.away:
            raise ServerUnavailable("call to 10.0.0.1:8500 failed", code="UNAVAILABLE")
        if model in ("none", ""):
            raise ModelNotFound("Could not find any versions", code="NOT_FOUND")
        if model == "new":
            return []
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
        (ModelRef("new"), "MODEL_NOT_READY"),
        (ModelRef("none"), "MODEL_NOT_FOUND"),
    ],
)
async def test_check(ref: ModelRef, reason: str) -> None:
    """A model is ready if one of its versions is available; a version, if it is."""
    server = Server()
    probes = make(server)
    await probes.check(ModelRef("ner"), timeout=5)
    await probes.check(ModelRef("ner", version=2), timeout=5)
    assert server.timeouts == [5, 5]
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
    message = "There is no available version of model 'gone': END. Retry later."
    assert await probes.readiness(timeout=5) == Readiness({"gone": message})
    server.away = True
    server.timeouts.clear()
    readiness = await probes.readiness(timeout=5)
    assert server.timeouts == [3, 3, 3]  # who asks whether a gateway is ready does not wait for longer
    assert readiness.obstacles.keys() == {"ner", "gone", OTHER_MODELS}
    assert readiness.reason == "not available: gone, ner, *"


async def test_ready_without_models() -> None:
    """Without configured models, the default server has to answer; nothing has to without any server."""
    server = Server()
    probes = make(server)
    assert (await probes.readiness(timeout=5)).reason == ""
    server.away = True
    assert (await probes.readiness(timeout=5)).obstacles == {
        OTHER_MODELS: "The server of the other models cannot be reached. Retry later."
    }
    none = Probes(Models(ServerBackend(Servers(None, {}), lambda _: server), ClientSettings()))
    assert (await none.readiness(timeout=5)).reason == ""


async def test_not_ready_while_stopping() -> None:
    """A process that is shutting down is not ready, even if all models are available."""
    probes = make(Server(), "ner")
    assert (await probes.readiness(timeout=5)).reason == ""
    probes.is_stopping = True
    assert (await probes.readiness(timeout=5)).reason == "the server is shutting down"


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
