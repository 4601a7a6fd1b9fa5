"""A version or a label that is asked, a canary, and the arguments of both clients."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bertbundle import AsyncClient, Client, InvalidRequest, ModelNotFound, RestTransport, RolloutCounts, Shadow
from fakes import connect
from versioned_transport import AsyncVersionedTransport, VersionedTransport, model, other_model
from waiting import wait_until

TEXT = "Wang lives in Berlin"


@pytest.fixture
def versions() -> VersionedTransport:
    """Version 1, which is stable, and version 2, the canary, which finds no places."""
    return VersionedTransport(model(1), other_model(2), labels={"stable": 1, "canary": 2})


def draw(monkeypatch: pytest.MonkeyPatch, *numbers: float) -> None:
    """Let the random numbers be these."""
    values = iter(numbers)
    monkeypatch.setattr("bertbundle.client.rollout.random.random", lambda: next(values))


@pytest.mark.parametrize(("version", "found"), [(None, 1), (1, 2), ("stable", 2), (2, 1), ("canary", 1)], ids=str)
def test_version(versions: VersionedTransport, version: Any, found: int) -> None:
    """A client asks the newest version, or the one with a number or a label, for its manifest, too."""
    client = connect(versions, version=version)
    assert len(client.entities(TEXT)) == found
    assert len(set(versions.answered)) == 1


def test_label_moves(versions: VersionedTransport) -> None:
    """A client of a label follows it to another version, and back, without a failed call."""
    client = connect(versions, version="stable")
    counts = []
    for number in (1, 2, 1):
        versions.labels["stable"] = number
        counts.append(len(client.entities(TEXT)))
    assert counts == [2, 1, 2]


def test_unknown_version(versions: VersionedTransport) -> None:
    """The client's own version is never replaced by another one."""
    with pytest.raises(ModelNotFound, match=r"Specific\(tiny, 3\)"):
        connect(versions, version=3).entities(TEXT)
    with pytest.raises(InvalidRequest, match="Unrecognized servable version label: beta"):
        connect(versions, version="beta").entities(TEXT)


def test_share_of_the_canary(versions: VersionedTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """The canary answers the calls whose random number is below its share, whole lists and iterators included."""
    draw(monkeypatch, 0.04, 0.06, 0.04, 0.04)
    client = connect(versions, version="stable", canary=("canary", 0.05))
    results = [client.entities(TEXT), client.entities(TEXT), *client.entities([TEXT] * 2)]
    results += client.entities(iter([TEXT]))
    assert [len(result) for result in results] == [1, 2, 1, 1, 1]
    assert client.rollout == RolloutCounts(calls=4, canary=3)


def test_share_in_the_long_run(versions: VersionedTransport) -> None:
    """The share of 2000 calls is within six standard deviations of the wanted one."""
    client = connect(versions, version="stable", canary=("canary", 0.3))
    for _ in range(2000):
        client.entities("wang")
    assert abs(client.rollout.canary / 2000 - 0.3) < 6 * (0.3 * 0.7 / 2000) ** 0.5


def test_missing_canary(versions: VersionedTransport) -> None:
    """If the server does not have the canary's label or version, the usual version answers, and that is counted."""
    for canary in ("beta", 9):
        client = connect(versions, version="stable", canary=(canary, 1.0))
        assert len(client.entities(TEXT)) == 2
        assert client.rollout == RolloutCounts(calls=1, canary_missing=1)


def test_failing_canary(versions: VersionedTransport) -> None:
    """Another error of the canary is raised: its answer is not replaced without a word."""
    versions.models[2] = model(2)
    versions.models[2].overrides["label_ids"] = None  # type: ignore[index]
    client = connect(versions, version="stable", canary=("canary", 1.0))
    with pytest.raises(Exception, match="label_ids"):
        client.entities(TEXT)


def test_async_client() -> None:
    """The async client has the same arguments and counts."""

    async def ask() -> tuple[int, int, RolloutCounts]:
        transport = AsyncVersionedTransport(model(1), other_model(2), labels={"canary": 2})
        copies = VersionedTransport(model(1), other_model(2))
        shadow = Shadow(2, transport=copies)
        async with AsyncClient("", "tiny", transport=transport, version=1, shadow=shadow) as client:
            one = await client.entities(TEXT)
            await asyncio.to_thread(wait_until, lambda: client.rollout.shadow.pending == 0)
            counts = client.rollout
        async with AsyncClient("", "tiny", transport=transport, version=1, canary=("canary", 1.0)) as client:
            other = await client.entities(TEXT)
        assert copies.closed
        return len(one), len(other), counts

    one, other, counts = asyncio.run(ask())
    assert (one, other, counts.disagreed, counts.shadow.failed) == (2, 1, 1, 0)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"version": -1}, ValueError, "version must be a version number from 0 or a label, got -1"),
        ({"version": ""}, ValueError, "version must be a version number from 0 or a label, got ''"),
        ({"version": True}, TypeError, "version must be a version number or a label, got bool: True"),
        ({"version": 1.5}, TypeError, "version must be a version number or a label, got float: 1.5"),
        ({"canary": "canary"}, TypeError, "canary must be a version or label and a share"),
        ({"canary": ("canary", 5)}, ValueError, "the share of canary must be more than 0 and at most 1, got 5"),
        ({"canary": ("canary", "5%")}, TypeError, "the share of canary must be a share of the calls"),
        ({"canary": (None, 0.5)}, TypeError, "canary must be a version or label and a share"),
        ({"shadow": "localhost:8600"}, ValueError, r"looks like an address: pass Shadow\(server='localhost:8600'\)"),
        ({"shadow": 1.5}, TypeError, "shadow must be a version number, a label or a Shadow, got float: 1.5"),
        ({"shadow": Shadow()}, ValueError, "the shadow is what the client asks"),
        ({"shadow": "stable", "version": "stable"}, ValueError, "the shadow is what the client asks"),
    ],
    ids=repr,
)
def test_wrong_arguments(settings: Any, error: type[Exception], message: str) -> None:
    """Wrong arguments are refused when the client is created."""
    with pytest.raises(error, match=message):
        Client("localhost:1", "tiny", **settings)


def test_wrong_shadow() -> None:
    """A shadow checks its settings; with a transport of the caller's own it needs another one."""
    with pytest.raises(ValueError, match=r"Shadow\.share must be more than 0 and at most 1, got 0"):
        Shadow(share=0)
    with pytest.raises(ValueError, match="max_pending must be at least 1"):
        Shadow(max_pending=0)
    with pytest.raises(ValueError, match="server or transport, not both"):
        Shadow(server="localhost:1", transport=VersionedTransport())
    with pytest.raises(ValueError, match=r"needs a shadow with its own: Shadow\(transport=...\)"):
        connect(VersionedTransport(), shadow="canary")


def test_labels_need_grpc(tmp_path: Path) -> None:
    """A label over REST is refused when the client is created: a response there does not say its version."""
    del tmp_path
    for settings in ({"version": "stable"}, {"canary": ("canary", 0.5)}):
        with pytest.raises(ValueError, match="is a label, which RestTransport does not support: pass a number"):
            Client("", "tiny", transport=RestTransport("http://localhost:1"), **settings)


def test_no_rollout() -> None:
    """Without canary and shadow the counts are zero."""
    assert connect(VersionedTransport(model(1))).rollout == RolloutCounts()
