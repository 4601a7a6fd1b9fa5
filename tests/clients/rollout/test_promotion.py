"""A label moves on all servers and in the file, or nowhere."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bertbundle import Client, InputError, ServerError
from bertbundle._shared.commands import CommandExit
from bertbundle.rollout.config_file import ConfigFile
from bertbundle.rollout.history import History, Journal, Move
from bertbundle.rollout.promotion import Promotion
from bertbundle.transports.model_service import ModelService, open_services
from bertbundle.wire.model_configs import ModelConfigs
from labelled_servers import Deployment

TO_2 = Move("tiny", "stable", 1, 2)
Deploy = Callable[..., Deployment]


@pytest.fixture
def deploy(tmp_path: Path) -> Iterator[Deploy]:
    """A function that writes a model with two versions."""
    made: list[Deployment] = []

    def make(**options: Any) -> Deployment:
        made.append(Deployment(tmp_path, **options))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def promotion(deployment: Deployment, *addresses: str, wait: float = 20) -> Promotion:
    """Return a promotion on servers."""
    return Promotion(ConfigFile(deployment.config), open_services(",".join(addresses)), timeout=20, wait=wait)


def assert_unchanged(deployment: Deployment, text: str, *addresses: str) -> None:
    """Check that file and servers are as before, and that nothing else was written."""
    assert deployment.config.read_text(encoding="utf-8") == text
    assert [deployment.version(address, "stable") for address in addresses] == [1] * len(addresses)
    assert sorted(path.name for path in deployment.config.parent.iterdir()) == ["models", "models.config"]


def test_a_version_is_loaded_first(deploy: Deploy) -> None:
    """A version that the policy `specific` does not list is added, loaded, and then gets the label."""
    deployment = deploy(versions="versions: 1")
    address = deployment.start()
    promotion(deployment, address).run(TO_2)
    assert deployment.version(address, "stable") == 2
    text = deployment.config.read_text(encoding="utf-8")
    assert "specific { versions: 1 versions: 2 }" in text
    assert 'version_labels { key: "stable" value: 2 }' in text
    deployment.stop()
    assert deployment.version(deployment.start(), "stable") == 2


def test_a_version_that_does_not_come(deploy: Deploy) -> None:
    """A label is not moved to a version that is not available; servers and file stay as they are."""
    deployment = deploy(versions="versions: 1")
    address = deployment.start()
    text = deployment.config.read_text(encoding="utf-8")
    with pytest.raises(
        ServerError, match=r"version 7 of model 'tiny' is not there on .*: servers and models.config are"
    ):
        promotion(deployment, address, wait=0.2).run(Move("tiny", "stable", 1, 7))
    assert_unchanged(deployment, text, address)


def test_a_version_that_does_not_load(deploy: Deploy) -> None:
    """The server's reason for a version that does not load is in the message, at once."""
    deployment = deploy(versions="versions: 1")
    address = deployment.start()
    (deployment.base / "2" / "model.onnx").write_bytes(b"broken")
    text = deployment.config.read_text(encoding="utf-8")
    with pytest.raises(ServerError, match=r"(?s)is in state END on .*model\.onnx.*are as before"):
        promotion(deployment, address, wait=600).run(TO_2)
    assert_unchanged(deployment, text, address)


class Refusing(ModelService):
    """A service that fails the n-th reload."""

    fail_at = 1

    def reload(self, configs: ModelConfigs, *, timeout: float) -> None:
        """See `ModelService.reload`."""
        self.fail_at -= 1
        if self.fail_at == 0:
            raise ServerError("injected error.", code="INTERNAL")
        super().reload(configs, timeout=timeout)


def test_the_second_server_refuses(deploy: Deploy) -> None:
    """If the second of two servers refuses, the first one and the file are brought back."""
    deployment = deploy()
    addresses = [deployment.start(), deployment.start()]
    text = deployment.config.read_text(encoding="utf-8")
    services = [ModelService(addresses[0]), Refusing(addresses[1])]
    with pytest.raises(
        ServerError, match=r"injected error\. The label did not move: servers and models\.config are as"
    ):
        Promotion(ConfigFile(deployment.config), services).run(TO_2)
    assert_unchanged(deployment, text, *addresses)


def test_a_server_that_cannot_be_brought_back_is_named(deploy: Deploy) -> None:
    """If bringing a server back fails, too, the message says what to do."""
    deployment = deploy()
    first, second = ModelService(deployment.start()), Refusing(deployment.start())

    class Broken(Refusing):
        fail_at = 2

    broken = Broken(first.address)
    with pytest.raises(ServerError, match=r"Not everything is as before: injected error\. Restart the servers with"):
        Promotion(ConfigFile(deployment.config), [broken, second]).run(TO_2)


def test_a_check_that_fails(deploy: Deploy) -> None:
    """An exception of the check ends the promotion, and unloads the version that was loaded for it."""
    deployment = deploy(versions="versions: 1")
    address = deployment.start()
    text = deployment.config.read_text(encoding="utf-8")
    seen: list[int] = []

    def check() -> None:
        with Client(address, "tiny", version=2) as client:
            seen.append(len(client.entities("wang")))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        promotion(deployment, address).run(TO_2, check=check)
    assert seen == [1]
    assert_unchanged(deployment, text, address)
    with Client(address, "tiny", version=2) as client, pytest.raises(ServerError, match="Specific"):
        client.entities("wang")


@pytest.mark.parametrize("step", [(ConfigFile, "replace"), (History, "write"), (Journal, "write")], ids=str)
def test_a_full_disk(deploy: Deploy, monkeypatch: pytest.MonkeyPatch, step: tuple[type, str]) -> None:
    """If the file, its history or its journal cannot be written, the servers are brought back."""
    deployment = deploy()
    address = deployment.start()
    text = deployment.config.read_text(encoding="utf-8")

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device", "models.config")

    monkeypatch.setattr(*step, fail)
    with pytest.raises(
        InputError, match=r"models\.config: No space left on device\. The label did not move: servers and"
    ):
        promotion(deployment, address).run(TO_2)
    assert_unchanged(deployment, text, address)


def test_an_interruption_at_the_end(deploy: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C when all is written undoes all of it, also the history, which has one promotion less to roll back."""
    deployment = deploy()
    address = deployment.start()
    promotion(deployment, address).run(Move("tiny", "canary", None, 1))
    text, history = deployment.config.read_text(encoding="utf-8"), ConfigFile(deployment.config).history
    remove = Journal.remove

    def interrupt(_: Journal) -> None:
        monkeypatch.setattr(Journal, "remove", remove)
        raise KeyboardInterrupt

    monkeypatch.setattr(Journal, "remove", interrupt)
    with pytest.raises(KeyboardInterrupt):
        promotion(deployment, address).run(TO_2)
    assert deployment.config.read_text(encoding="utf-8") == text
    assert history.moves() == [Move("tiny", "canary", None, 1)]
    assert deployment.version(address, "stable") == 1


def test_a_server_that_stops_meanwhile(deploy: Deploy) -> None:
    """If one of two servers stops, the other one is brought back, and the message names the one that is gone."""
    deployment = deploy()
    addresses = [deployment.start(), deployment.start()]
    made = promotion(deployment, *addresses)
    made.timeout = 2
    with pytest.raises(ServerError) as raised:
        made.run(TO_2, check=deployment.servers[1].stop)
    error, _, outcome = str(raised.value).partition("Not everything is as before: ")
    assert (addresses[1] in error, addresses[1] in outcome, addresses[0] in outcome) == (True, True, False)
    assert deployment.version(addresses[0], "stable") == 1
    del deployment.servers[1]
    with pytest.raises(InputError, match=r"models\.config\.unfinished has a promotion that was interrupted"):
        promotion(deployment, addresses[0]).run(TO_2)


def test_a_file_that_changed_before(deploy: Deploy) -> None:
    """A file that was changed since it was read ends the promotion before anything else happens."""
    deployment = deploy()
    made = promotion(deployment, "localhost:1")
    text = deployment.config.read_text(encoding="utf-8") + "# a comment\n"
    deployment.config.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"was changed meanwhile\. Start again\.$"):
        made.run(TO_2)


@pytest.mark.parametrize(
    ("old", "new", "stable", "outcome"),
    [
        ("# the models", "# all models", 1, "servers and models.config are as before"),
        ("value: 1", "value: 2", 2, "the servers have the models of models.config as it is now"),
    ],
    ids=["a comment", "the label"],
)
def test_a_file_that_changes_meanwhile(deploy: Deploy, old: str, new: str, stable: int, outcome: str) -> None:
    """A change that somebody else makes to the file meanwhile is not overwritten, and the servers follow it."""
    deployment = deploy()
    address = deployment.start()
    text = deployment.config.read_text(encoding="utf-8").replace(old, new)

    def change() -> None:
        deployment.config.write_text(text, encoding="utf-8")

    with pytest.raises(InputError, match=rf"was changed meanwhile\. Start again\. The label did not move: {outcome}"):
        promotion(deployment, address).run(Move("tiny", "canary", None, 2), check=change)
    assert deployment.config.read_text(encoding="utf-8") == text
    assert deployment.version(address, "stable") == stable


def test_one_promotion_at_a_time(deploy: Deploy) -> None:
    """A second promotion with the same file is refused while one is running, and changes nothing."""
    deployment = deploy()
    address = deployment.start()
    messages: list[str] = []

    def other() -> None:
        with pytest.raises(InputError) as raised:
            promotion(deployment, "localhost:1").run(Move("tiny", "stable", 1, None))
        messages.append(str(raised.value))

    promotion(deployment, address).run(TO_2, check=other)
    assert messages == [
        f"another promotion with a file in {deployment.config.parent} is running. Start again afterwards."
    ]
    assert deployment.version(address, "stable") == 2
    promotion(deployment, address).run(Move("tiny", "stable", 2, 1))


def test_a_label_that_only_the_server_has(deploy: Deploy) -> None:
    """A label that the file does not have is not taken away from a server that has it."""
    deployment = deploy()
    address = deployment.start()
    made = promotion(deployment, address)
    made.services[0].reload(made.file.configs.with_label("tiny", "canary", 1), timeout=20)
    with pytest.raises(InputError, match=r"label 'canary' of model 'tiny' is not there in .*, and version 1 on 127"):
        made.run(Move("tiny", "canary", None, 2))
    assert deployment.version(address, "canary") == 1


def test_a_check_that_fails_on_a_server_that_cannot_be_brought_back(deploy: Deploy) -> None:
    """What ends the promotion does not hide that a server keeps what was loaded for it."""
    deployment = deploy(versions="versions: 1")

    class Broken(Refusing):
        fail_at = 2

    def check() -> None:
        raise CommandExit(1)

    made = Promotion(ConfigFile(deployment.config), [Broken(deployment.start())], timeout=20)
    with pytest.raises(ServerError, match=r"Not everything is as before: injected error\. Restart the servers with"):
        made.run(TO_2, check=check)


def test_the_changed_file_is_newer(deploy: Deploy) -> None:
    """The new file keeps the mode of the old one, but not its time: programs that copy what is newer copy it."""
    deployment = deploy()
    deployment.config.chmod(0o640)
    os.utime(deployment.config, (1, 1))
    promotion(deployment, deployment.start()).run(TO_2)
    status = deployment.config.stat()
    assert (status.st_mode & 0o777, status.st_mtime > 1) == (0o640, True)


def test_another_file(deploy: Deploy) -> None:
    """A file that is not the server's is refused: a reload would replace all models by its."""
    deployment = deploy()
    address = deployment.start()
    text = deployment.config.read_text(encoding="utf-8")
    deployment.config.write_text(text.replace("value: 1", "value: 2"), encoding="utf-8")
    with pytest.raises(InputError, match=r"label 'stable' of model 'tiny' is version 2 in .*, and version 1 on 127"):
        promotion(deployment, address).run(Move("tiny", "stable", 2, 1))
    deployment.config.write_text(text.replace('"other"', '"absent"'), encoding="utf-8")
    with pytest.raises(ServerError, match="Could not find any versions of model absent"):
        promotion(deployment, address).run(TO_2)
    assert deployment.version(address, "stable") == 1


def test_no_request_fails_under_load(deploy: Deploy) -> None:
    """Clients of the label, and of a canary that comes and goes, get an answer to every request meanwhile."""
    deployment = deploy(versions="versions: 1")
    address = deployment.start()
    stop, answered, errors = threading.Event(), [0] * 4, []

    def ask(index: int) -> None:
        with Client(address, "tiny", version="stable", canary=("canary", 0.5)) as client:
            try:
                while not stop.is_set():
                    assert [entity.text for entity in client.entities("wang lives")] == ["wang"]
                    answered[index] += 1
            except Exception as error:  # noqa: BLE001 - reported below
                errors.append(error)

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        promotion(deployment, address).run(Move("tiny", "canary", None, 2))
        promotion(deployment, address).run(TO_2)
        promotion(deployment, address).run(Move("tiny", "stable", 2, 1))
        promotion(deployment, address).run(Move("tiny", "canary", 2, None))
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert min(answered) > 0


def test_history(deploy: Deploy) -> None:
    """Promotions are undone in reverse order; a label that was moved by something else is not."""
    deployment = deploy()
    address = deployment.start()
    canary = Move("tiny", "canary", None, 2)
    for move in (TO_2, canary):
        promotion(deployment, address).run(move)
    lines = deployment.config.with_name("models.config.promotions").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["label"] for line in lines] == ["stable", "canary"]
    assert ConfigFile(deployment.config).last_move("tiny", "stable") == TO_2
    text = deployment.config.read_text(encoding="utf-8")
    deployment.config.write_text(text.replace("value: 2", "value: 1", 1), encoding="utf-8")
    with pytest.raises(
        InputError, match="label 'stable' of model 'tiny' is version 1, the last promotion moved it to 2"
    ):
        ConfigFile(deployment.config).last_move("tiny", "stable")
