"""`bertbundle promote`, on embedded servers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labelled_servers import Deployment


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    """A model with two versions, of which the first one is stable."""
    made = Deployment(tmp_path)
    yield made
    made.stop()


def flags(deployment: Deployment, address: str, *more: str) -> list[str]:
    """Return the arguments of a promotion of the label stable."""
    common = ["--server", address, "--model", "tiny", "--config", str(deployment.config), "--label", "stable"]
    return ["promote", *common, *more]


def test_promote_and_roll_back(deployment: Deployment, run: Callable[..., str]) -> None:
    """A label moves to another version and back, on the server and in the file."""
    address = deployment.start()
    before = deployment.config.read_text(encoding="utf-8")
    out = run(*flags(deployment, address, "--to", "2", "--no-compare"))
    assert out == "label stable of model tiny moved from version 1 to version 2.\n"
    assert deployment.version(address, "stable") == 2
    assert deployment.config.read_text(encoding="utf-8") == before.replace("value: 1", "value: 2")
    out = run(*flags(deployment, address, "--rollback"))
    assert out == "label stable of model tiny moved from version 2 to version 1.\n"
    assert deployment.version(address, "stable") == 1
    assert deployment.config.read_text(encoding="utf-8") == before


def test_a_restart_ends_where_the_server_was(deployment: Deployment, run: Callable[..., str]) -> None:
    """A server that starts with the changed file has the label where the running server had it."""
    run(*flags(deployment, deployment.start(), "--to", "2", "--no-compare"))
    deployment.stop()
    assert deployment.version(deployment.start(), "stable") == 2


def test_every_server(deployment: Deployment, run: Callable[..., str]) -> None:
    """The label moves on each of the listed servers; --json describes the move."""
    addresses = [deployment.start(), deployment.start()]
    out = json.loads(run(*flags(deployment, ",".join(addresses), "--to", "2", "--no-compare", "--json")))
    assert out == {
        "model": "tiny",
        "label": "stable",
        "before": 1,
        "after": 2,
        "servers": addresses,
        "config": str(deployment.config),
    }
    assert [deployment.version(address, "stable") for address in addresses] == [2, 2]


def test_labels_as_targets(deployment: Deployment, run: Callable[..., str]) -> None:
    """A new label is added, --to may name a label, and a label that is there already does not move."""
    address = deployment.start()
    arguments = flags(deployment, address, "--to", "2", "--no-compare")
    arguments[arguments.index("stable")] = "canary"
    assert run(*arguments) == "label canary of model tiny moved from no version to version 2.\n"
    run(*flags(deployment, address, "--to", "canary", "--no-compare"))
    assert deployment.version(address, "stable") == 2
    out = run(*flags(deployment, address, "--to", "2", "--no-compare"))
    assert out == "label stable of model tiny is version 2 already.\n"


def test_mistakes(deployment: Deployment, fail: Callable[..., str]) -> None:
    """Wrong arguments are named."""
    unused = "localhost:1"
    assert "--to beta is neither a version number nor a label of model 'tiny': it has stable" in fail(
        *flags(deployment, unused, "--to", "beta", "--no-compare")
    )
    assert "has no promotion of label 'stable' of model 'tiny' to roll back" in fail(
        *flags(deployment, unused, "--rollback")
    )
    assert "one of the arguments --to --rollback is required" in fail(*flags(deployment, unused))
    missing = flags(deployment, unused, "--to", "2", "--no-compare")
    missing[missing.index("tiny")] = "nope"
    assert "model 'nope' is not listed: there are tiny, other. Change --model or --config." in fail(*missing)
    missing[missing.index(str(deployment.config))] = "absent.config"
    assert "absent.config cannot be read: No such file or directory." in fail(*missing)
