"""`bertbundle promote`, on embedded servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bertbundle.cli.main import main
from bertbundle.rollout.config_file import ConfigFile
from labelled_servers import Deployment, find_no_places


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    """A model with two versions, of which the first one is stable."""
    made = Deployment(tmp_path)
    yield made
    made.stop()


def flags(deployment: Deployment, address: str, *more: str) -> list[str]:
    """Return the arguments of a promotion of the label stable."""
    return ["promote", "stable", "--server", address, "--model", "tiny", "--config", str(deployment.config), *more]


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
        "moved": True,
        "comparisons": [],
        "recovered": None,
        "servers": addresses,
        "config": str(deployment.config),
    }
    assert [deployment.version(address, "stable") for address in addresses] == [2, 2]


def test_labels_as_targets(deployment: Deployment, run: Callable[..., str]) -> None:
    """A new label is added, --to may name a label, and a label that is there already does not move."""
    address = deployment.start()
    arguments = flags(deployment, address, "--to", "2", "--no-compare")
    arguments[1] = "canary"
    assert run(*arguments) == "label canary of model tiny moved from no version to version 2.\n"
    run(*flags(deployment, address, "--to", "canary", "--no-compare"))
    assert deployment.version(address, "stable") == 2
    out = run(*flags(deployment, address, "--to", "2", "--no-compare"))
    assert out == "label stable of model tiny is version 2 already.\n"


def data(deployment: Deployment, *labels: str) -> list[str]:
    """Return --data with a tagged file, whose tags are those that the model finds unless others are given."""
    path = deployment.config.with_name("test.conll")
    tags = labels or ("B-PER", "O", "O", "B-LOC")
    lines = [f"{token}\t{tag}" for token, tag in zip(("Wang", "lives", "in", "Berlin"), tags, strict=True)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return ["--data", str(path)]


def test_a_comparison_that_passes(deployment: Deployment, run: Callable[..., str]) -> None:
    """The label moves if the comparison with its version meets the limits; the report is printed."""
    address = deployment.start()
    out = run(*flags(deployment, address, "--to", "2", "--min-agreement", "1", *data(deployment)))
    assert "agreement: 100.00% (1 of 1 texts)" in out
    assert "--min-agreement 1: 1.0000, passed" in out
    assert out.endswith("label stable of model tiny moved from version 1 to version 2.\n")
    assert deployment.version(address, "stable") == 2


def test_a_comparison_that_fails(deployment: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise the command ends with code 1, and servers and file are as before."""
    find_no_places(deployment.base / "2")
    address = deployment.start()
    text = deployment.config.read_text(encoding="utf-8")
    arguments = flags(deployment, address, "--to", "2", "--max-f1-loss", "0.1", *data(deployment))
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert "--max-f1-loss 0.1: 0.3333, FAILED" in out
    assert out.endswith("label stable of model tiny is version 1.\n")
    assert err == ""
    assert main([*arguments, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["moved"], report["comparisons"][0]["passed"]) == (False, False)
    assert deployment.config.read_text(encoding="utf-8") == text
    assert deployment.version(address, "stable") == 1


def test_each_server_is_compared(deployment: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    """The label moves only if the comparison passes on every server; the report names the server where it fails."""
    addresses = [deployment.start()]
    find_no_places(deployment.base / "2")  # the first server has loaded the version as it was
    addresses.append(deployment.start())
    arguments = flags(deployment, ",".join(addresses), "--to", "2", "--min-agreement", "1", *data(deployment), "--json")
    assert main(arguments) == 1
    report = json.loads(capsys.readouterr().out)
    assert [(each["b"]["target"], each["passed"]) for each in report["comparisons"]] == [
        (f"{addresses[0]}/tiny@2", True),
        (f"{addresses[1]}/tiny@2", False),
    ]
    assert [deployment.version(address, "stable") for address in addresses] == [1, 1]


def test_a_new_label_is_compared(deployment: Deployment, run: Callable[..., str], fail: Callable[..., str]) -> None:
    """A label without a version is compared with the version of --against."""
    arguments = flags(deployment, deployment.start(), "--to", "2", "--min-agreement", "0.9", *data(deployment))
    arguments[1] = "canary"
    assert "label 'canary' has no version to compare with yet: pass --against VERSION." in fail(*arguments)
    out = run(*arguments, "--against", "stable")
    assert out.endswith("label canary of model tiny moved from no version to version 2.\n")


def test_a_comparison_with_itself(deployment: Deployment, fail: Callable[..., str]) -> None:
    """A version that is compared with itself would always pass."""
    arguments = flags(deployment, "localhost:1", "--to", "2", "--min-agreement", "1", *data(deployment))
    assert "--against is version 2, as --to, and always agrees with itself. Pass another version." in fail(
        *arguments, "--against", "2"
    )


def test_sigterm_undoes_what_was_begun(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that is cancelled during the promotion leaves servers and file as they were."""
    address = deployment.start()
    text = deployment.config.read_text(encoding="utf-8")
    replace = ConfigFile.replace

    def cancelled(file: ConfigFile, staged: Path) -> None:
        replace(file, staged)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(ConfigFile, "replace", cancelled)
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit, match=str(128 + signal.SIGTERM)):
        main(flags(deployment, address, "--to", "2", "--no-compare"))
    assert deployment.version(address, "stable") == 1
    assert deployment.config.read_text(encoding="utf-8") == text
    assert signal.getsignal(signal.SIGTERM) is handler


KILL = """
import os, signal, sys
from bertbundle.cli.main import main
from bertbundle.rollout.config_file import ConfigFile
from bertbundle.rollout.history import History, Journal
from bertbundle.transports.model_service import ModelService

owner, name, calls = globals()[sys.argv[1]], sys.argv[2], int(sys.argv[3])
call = getattr(owner, name)

def call_or_end(*arguments, **options):
    global calls
    calls -= 1
    return os.kill(os.getpid(), signal.SIGKILL) if calls == 0 else call(*arguments, **options)

setattr(owner, name, call_or_end)
main(sys.argv[4:])
"""
"""Runs the command, and kills it at the n-th call of a method."""


def kill(point: str, arguments: list[str]) -> None:
    """Run a promotion that is killed at a call: class, method, number."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run([sys.executable, "-c", KILL, *point.split(), *arguments], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("point", "on_servers", "finished"),
    [
        ("ModelService reload 1", [1, 1], False),
        ("ModelService reload 2", [2, 1], False),
        ("ConfigFile replace 1", [2, 2], False),
        ("History write 1", [2, 2], True),
        ("Journal remove 1", [2, 2], True),
    ],
)
def test_a_killed_promotion_is_repaired_by_the_next(
    deployment: Deployment,
    run: Callable[..., str],
    fail: Callable[..., str],
    point: str,
    on_servers: list[int],
    finished: bool,
) -> None:
    """After SIGKILL, the next promotion brings servers, file and history together: as before, or all moved."""
    addresses = [deployment.start(), deployment.start()]
    text = deployment.config.read_text(encoding="utf-8")
    kill(point, flags(deployment, ",".join(addresses), "--to", "2", "--no-compare"))
    assert [deployment.version(address, "stable") for address in addresses] == on_servers
    stable = 2 if finished else 1
    again = ["--to", str(stable), "--no-compare"]
    assert f"was interrupted. Pass its servers, --server {','.join(addresses)}. If" in fail(
        *flags(deployment, addresses[0], *again)
    )
    outcome = "finished" if finished else "undone"
    assert run(*flags(deployment, ",".join(addresses), *again)) == (
        f"a promotion of label stable of model tiny to version 2 was interrupted: it is {outcome} now.\n"
        f"label stable of model tiny is version {stable} already.\n"
    )
    assert [deployment.version(address, "stable") for address in addresses] == [stable] * 2
    file = ConfigFile(deployment.config)
    assert file.label("tiny", "stable") == stable
    history = ["models.config.promotions"] if finished else []
    assert sorted(path.name for path in deployment.config.parent.iterdir()) == ["models", "models.config", *history]
    if finished:
        run(*flags(deployment, ",".join(addresses), "--rollback"))
    assert deployment.config.read_text(encoding="utf-8") == text
    assert [deployment.version(address, "stable") for address in addresses] == [1, 1]


def test_a_killed_promotion_of_a_server_that_is_gone(deployment: Deployment, fail: Callable[..., str]) -> None:
    """If a server does not answer, the message says why the promotion cannot be repaired, and what to remove."""
    arguments = flags(deployment, deployment.start(), "--to", "2", "--no-compare", "--timeout", "1", "--wait", "1")
    kill("ConfigFile replace 1", arguments)
    deployment.stop()
    message = fail(*arguments)
    assert "was interrupted, and cannot be undone: " in message
    journal = deployment.config.with_name("models.config.unfinished")
    assert message.endswith(f"If a server no longer exists, remove {journal}.\n")
    journal.write_text("{", encoding="utf-8")
    assert f"{journal} cannot be read: " in fail(*arguments)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--to", "2"], "pass --data FILE with --min-agreement or --max-f1-loss, or --no-compare."),
        (["--to", "2", "--data", "x"], "pass --data FILE with --min-agreement or --max-f1-loss, or --no-compare."),
        (["--to", "2", "--min-agreement", "1"], "pass --data FILE with --min-agreement or --max-f1-loss, or --no-"),
        (["--to", "2", "--data", "x", "--no-compare"], "--no-compare does not go with --data and limits."),
        (["--rollback", "--no-compare"], "--rollback does not compare: omit --data, --no-compare and limits."),
    ],
    ids=str,
)
def test_a_comparison_is_wanted_or_not(
    deployment: Deployment, fail: Callable[..., str], more: list[str], message: str
) -> None:
    """A promotion without a comparison is explicit."""
    assert message in fail(*flags(deployment, "localhost:1", *more))


def test_mistakes(deployment: Deployment, fail: Callable[..., str]) -> None:
    """Wrong arguments are named."""
    unused = "localhost:1"
    assert "'beta' is neither a version number nor a label of model 'tiny': it has stable" in fail(
        *flags(deployment, unused, "--to", "beta", "--no-compare")
    )
    assert "has no promotion of label 'stable' of model 'tiny' to roll back" in fail(
        *flags(deployment, unused, "--rollback")
    )
    for label in ("", "2"):
        named = flags(deployment, unused, "--to", "2", "--no-compare")
        named[1] = label
        assert f"argument LABEL: expected a name such as stable, got {label!r}" in fail(*named)
    assert f"{2**63} is no version number: it has more than 64 bits." in fail(
        *flags(deployment, unused, "--to", str(2**63), "--no-compare")
    )
    assert "one of the arguments --to --rollback is required" in fail(*flags(deployment, unused))
    assert "expected host:port of a gRPC server, got 'localhost'" in fail(
        *flags(deployment, "localhost", "--to", "2", "--no-compare")
    )
    missing = flags(deployment, unused, "--to", "2", "--no-compare")
    missing[missing.index("tiny")] = "nope"
    assert "model 'nope' is not listed: there are tiny, other. Change --model or --config." in fail(*missing)
    missing[missing.index(str(deployment.config))] = "absent.config"
    assert "absent.config cannot be read: No such file or directory." in fail(*missing)
