"""Versions come and go without a failed request."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from bertbundle.wire.tensors import decode_tensor
from bertbundle_serving.config.models import ModelConfig
from bertbundle_serving.config.version_policy import All, Latest, Policy, Specific
from bertbundle_serving.errors import RequestError, ServeError
from bertbundle_serving.repository.model import Loading, Model
from bertbundle_serving.repository.repository import ModelRef, Repository, RepositoryOptions
from bertbundle_serving.repository.scanner import Scanner
from bertbundle_serving.repository.version import State

if TYPE_CHECKING:
    from tests.serving.conftest import Address, Bundles, Serve


class FakeServable:
    """A servable that only remembers that it was closed."""

    description = "fake"
    parallel = 1

    def __init__(self) -> None:
        self.signatures: dict[str, Any] = {}
        self.closed = False

    def run(self, signature: str, inputs: Any, outputs: Any) -> dict[str, Any]:
        """Answer nothing."""
        del signature, inputs, outputs
        return {}

    def close(self) -> None:
        """Remember."""
        self.closed = True


def load_fake(directory: Path) -> FakeServable:
    """Load a version unless it holds a file named broken."""
    if (directory / "broken").exists():
        raise ServeError((directory / "broken").read_text())
    return FakeServable()


def make_model(base: Path, policy: Policy | None = None, **labels: int) -> Model:
    """Return a model over fake versions."""
    return Model(ModelConfig("m", base, policy or Latest(), labels), Loading(load_fake))


def make_repository(base: Path, policy: Policy | None = None, **labels: int) -> Repository:
    """Return a repository of one model over fake versions, that does not poll."""
    config = ModelConfig("m", base, policy or Latest(), labels)
    return Repository([config], Loading(load_fake), RepositoryOptions(poll_seconds=0))


def states(model: Model) -> dict[int, State]:
    """Return the state of every version."""
    return {status.version: status.state for status in model.statuses()}


def available(model: Model) -> set[int]:
    """Return the versions that are served."""
    return {version for version, state in states(model).items() if state == State.AVAILABLE}


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for something that happens in another thread."""
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        pytest.param(Latest(), {3}, id="latest"),
        pytest.param(Latest(2), {2, 3}, id="latest-2"),
        pytest.param(All(), {1, 2, 3}, id="all"),
        pytest.param(Specific(frozenset({1, 7})), {1}, id="specific"),
    ],
)
def test_policy_chooses(tmp_path: Path, policy: Policy, expected: set[int]) -> None:
    """A policy says which of the versions on disk are served."""
    for name in ("1", "2", "3"):
        (tmp_path / name).mkdir()
    model = make_model(tmp_path, policy)
    model.refresh()
    assert available(model) == expected


def test_new_version_replaces_old(tmp_path: Path) -> None:
    """A new version is available before the old one goes, and the old one is closed."""
    (tmp_path / "1").mkdir()
    model = make_model(tmp_path)
    model.refresh()
    held = model.acquire()
    assert held is not None
    (tmp_path / "2").mkdir()
    model.refresh()
    assert states(model) == {1: State.UNLOADING, 2: State.AVAILABLE}
    assert isinstance(held.servable, FakeServable)
    assert not held.servable.closed
    held.release()
    assert held.servable.closed
    assert states(model)[1] == State.END


def test_reload_while_the_old_load_is_in_use(tmp_path: Path) -> None:
    """A version that comes back while a caller still uses its first load stays available when that caller is done."""
    (tmp_path / "1").mkdir()
    model = make_model(tmp_path)
    model.refresh()
    held = model.acquire()
    assert held is not None
    (tmp_path / "1").rmdir()
    model.refresh()
    (tmp_path / "1").mkdir()
    model.refresh()
    held.release()
    assert states(model) == {1: State.AVAILABLE}


def test_broken_version_keeps_old(tmp_path: Path) -> None:
    """A version that does not load ends with its error, and the one before stays."""
    (tmp_path / "1").mkdir()
    model = make_model(tmp_path)
    model.refresh()
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "broken").write_text("no weights")
    model.refresh()
    assert states(model) == {1: State.AVAILABLE, 2: State.END}
    newest = model.statuses()[0]
    assert (newest.code, newest.message) == ("FAILED_PRECONDITION", "no weights")


def test_restart_skips_broken_version(tmp_path: Path) -> None:
    """A restart with a broken newest version ends where the running server was: on the one before."""
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "broken").write_text("no weights")
    model = make_model(tmp_path)
    model.refresh()
    assert available(model) == {1}


def test_broken_version_is_tried_again_when_its_files_change(tmp_path: Path) -> None:
    """A broken version is left alone until its files change."""
    tries: list[Path] = []

    def load(directory: Path) -> FakeServable:
        tries.append(directory)
        return load_fake(directory)

    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "broken").write_text("no weights")
    model = Model(ModelConfig("m", tmp_path), Loading(load))
    model.refresh()
    model.refresh()
    assert len(tries) == 1
    (tmp_path / "1" / "broken").unlink()
    model.refresh()
    assert available(model) == {1}


def test_deleted_version_falls_back(tmp_path: Path) -> None:
    """A version whose directory is deleted is unloaded, and the next newest served."""
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    model = make_model(tmp_path)
    model.refresh()
    (tmp_path / "2").rmdir()
    model.refresh()
    assert states(model) == {1: State.AVAILABLE, 2: State.END}


def test_vanished_base_path_keeps_what_is_loaded(tmp_path: Path) -> None:
    """A base path that cannot be listed (a share that is away) takes nothing away."""
    base = tmp_path / "base"
    (base / "1").mkdir(parents=True)
    model = make_model(base)
    model.refresh()
    shutil.rmtree(base)
    model.refresh()
    assert available(model) == {1}


def test_other_names_are_ignored_and_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A directory that is not named after a number is never loaded, and one warning names it."""
    for name in ("draft", ".2.part", "-1", "1.5", "٣", "99999999999999999999"):
        (tmp_path / name).mkdir()
    (tmp_path / "7").write_text("a file")
    model = make_model(tmp_path)
    model.refresh()
    model.refresh()
    assert states(model) == {}
    assert caplog.text.count("draft") == 1
    assert "rename it" in caplog.text
    assert ".2.part" not in caplog.text
    assert caplog.text.count("model m waits for a version") == 1


def test_one_number_twice_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of two directories with one number one is served, and a warning names the other."""
    for name in ("007", "7"):
        (tmp_path / name).mkdir()
    assert Scanner(tmp_path).versions() == {7: tmp_path / "7"}
    assert f"ignored {tmp_path / '007'}: another directory has the same number" in caplog.text


def test_specific_version_that_is_not_there_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A policy's version that is not on disk is named by one warning, and by another when it has come and gone."""
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
    model = Model(ModelConfig("m", tmp_path, Specific(frozenset({1, 7}))), Loading(load_fake))
    for _ in range(2):
        model.refresh()
    assert caplog.messages == [f"model m waits for version 7 in {tmp_path}"]
    (tmp_path / "7").mkdir()
    model.refresh()
    (tmp_path / "7").rmdir()
    model.refresh()
    assert len(caplog.messages) == 2


def test_none_loads_stops_the_start(tmp_path: Path) -> None:
    """A server whose only version is broken does not start, and says which and why."""
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "broken").write_text("no weights.")
    with pytest.raises(ServeError, match=r"no version of model m .* version 1: no weights\. Mend or remove it"):
        make_repository(tmp_path).start()


def test_label_of_absent_version_stops_the_start(tmp_path: Path) -> None:
    """A label must point to a version that is available."""
    (tmp_path / "1").mkdir()
    with pytest.raises(ServeError, match="Request to assign label to version 7 of model m, which is not currently"):
        make_repository(tmp_path, stable=7).start()


def test_labels_that_wait(tmp_path: Path) -> None:
    """A new label may point to a version to come, if the server lets it; one in use stays where it was."""
    (tmp_path / "1").mkdir()
    config = ModelConfig("m", tmp_path, All(), {"stable": 1})
    repository = Repository([config], Loading(load_fake), RepositoryOptions(0, labels_for_unavailable=True))
    repository.start()
    repository.reconfigure([replace(config, labels={"stable": 1, "canary": 2})])
    with pytest.raises(ServeError, match="Request to assign label to version 2 of model m"):
        repository.reconfigure([replace(config, labels={"stable": 2})])
    with repository.use(ModelRef("m", label="stable")) as version:
        assert version.number == 1


def test_labels_name_versions(tmp_path: Path) -> None:
    """A label stands for its version, an unknown one is refused."""
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
    repository = make_repository(tmp_path, All(), stable=1)
    repository.start()
    with repository.use(ModelRef("m", label="stable")) as version:
        assert version.number == 1
    refused = pytest.raises(RequestError, match="Unrecognized servable version label: canary")
    with refused, repository.use(ModelRef("m", label="canary")):
        pass


def test_swap_under_load_fails_no_request(bundles: Bundles, serve: Serve) -> None:
    """Versions 1, 2, a broken 3 and 4 come under load: every request is answered, by a version that never goes back,
    with that version's own numbers.
    """
    bundles.write(1)
    address = serve(bundles.base).address
    stop = threading.Event()
    failures: list[grpc.RpcError] = []
    seen: list[list[int]] = [[], [], []]

    def caller(versions: list[int]) -> None:
        while not stop.is_set():
            try:
                response = address.predict_tiny()
            except grpc.RpcError as error:
                failures.append(error)
                return
            version = response.model_spec.version.value
            assert decode_tensor(response.outputs["logits"])[0, 1] == np.float32(version)
            versions.append(version)

    threads = [threading.Thread(target=caller, args=(versions,)) for versions in seen]
    for thread in threads:
        thread.start()
    for version in (2, 3, 4):
        bundles.break_file(3) if version == 3 else bundles.write(version)
        state = State.END if version == 3 else State.AVAILABLE
        wait_until(partial(_reached, address, version, state))
    wait_until(lambda: all(4 in versions for versions in seen))
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert all(versions == sorted(versions) and set(versions) <= {1, 2, 4} for versions in seen)


def _reached(address: Address, version: int, state: State) -> bool:
    statuses = address.statuses()
    return version in statuses and int(statuses[version].state) == int(state)
