"""A model follows its base path: versions are loaded and unloaded without a failed request."""

from __future__ import annotations

import shutil
import threading
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.tensors import decode_tensor, encode_tensors
from bertbundle_serving.config.models import ModelConfig
from bertbundle_serving.repository.model import LoadOptions, Model
from bertbundle_serving.repository.version import VersionState
from embedded_server import Serve, ServerAddress
from fake_versions import FakeServable, available_versions, load_fake, make_model, version_states
from server_states import version_state
from tiny_bundles import TinyBundles
from waiting import wait_until

AVAILABLE, END = wire.ModelVersionStatus.AVAILABLE, wire.ModelVersionStatus.END


def test_new_version_replaces_old(tmp_path: Path) -> None:
    """A new version is available before the old version is unloaded; the old one is closed after its last user."""
    (tmp_path / "1").mkdir()
    model = make_model(tmp_path)
    model.refresh()
    version = model.versions[1]
    assert version.acquire()
    (tmp_path / "2").mkdir()
    model.refresh()
    assert version_states(model) == {1: VersionState.UNLOADING, 2: VersionState.AVAILABLE}
    assert isinstance(version.servable, FakeServable)
    assert not version.servable.closed
    version.release()
    assert version.servable.closed
    assert version_states(model)[1] == VersionState.END


def test_broken_version_keeps_old(tmp_path: Path) -> None:
    """A version that does not load has the state END with its error, and the previous version stays."""
    (tmp_path / "1").mkdir()
    model = make_model(tmp_path)
    model.refresh()
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "broken").write_text("no weights")
    model.refresh()
    assert version_states(model) == {1: VersionState.AVAILABLE, 2: VersionState.END}
    newest = model.statuses()[0]
    assert (newest.code, newest.message) == ("FAILED_PRECONDITION", "no weights")


def test_restart_skips_broken_version(tmp_path: Path) -> None:
    """If the newest version is broken, a restarted server serves the previous version, as the running one did."""
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "broken").write_text("no weights")
    model = make_model(tmp_path)
    model.refresh()
    assert available_versions(model) == {1}


def test_broken_version_is_retried_when_its_files_change(tmp_path: Path) -> None:
    """A broken version is ignored until its files change."""
    attempts: list[Path] = []

    def load(directory: Path) -> FakeServable:
        attempts.append(directory)
        return load_fake(directory)

    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "broken").write_text("no weights")
    model = Model(ModelConfig("m", tmp_path), LoadOptions(load))
    model.refresh()
    model.refresh()
    assert len(attempts) == 1
    (tmp_path / "1" / "broken").unlink()
    model.refresh()
    assert available_versions(model) == {1}


def test_broken_version_is_retried(tmp_path: Path) -> None:
    """A broken version whose files do not change is retried a limited number of times."""
    (tmp_path / "1").mkdir()
    attempts: list[Path] = []

    def load(directory: Path) -> Any:
        attempts.append(directory)
        raise OSError("the network share is unavailable")

    model = Model(ModelConfig("m", tmp_path), LoadOptions(load, retries=2, retry_seconds=0.0))
    for _ in range(5):
        model.refresh()
    assert len(attempts) == 3
    assert model.statuses()[0].state == VersionState.END


def test_retry_waits(tmp_path: Path) -> None:
    """A broken version is not retried before the retry interval is over."""
    (tmp_path / "1").mkdir()
    attempts: list[Path] = []

    def load(directory: Path) -> Any:
        attempts.append(directory)
        raise OSError("the network share is unavailable")

    model = Model(ModelConfig("m", tmp_path), LoadOptions(load, retry_seconds=60))
    model.refresh()
    model.refresh()
    assert len(attempts) == 1


def test_deleted_version_is_unloaded(tmp_path: Path) -> None:
    """A version whose directory is deleted is unloaded, and the next newest version is served."""
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    model = make_model(tmp_path)
    model.refresh()
    (tmp_path / "2").rmdir()
    model.refresh()
    assert version_states(model) == {1: VersionState.AVAILABLE, 2: VersionState.END}


def test_missing_base_path_keeps_the_loaded_versions(tmp_path: Path) -> None:
    """If the base path cannot be listed, as on an unavailable network share, the loaded versions stay."""
    base = tmp_path / "base"
    (base / "1").mkdir(parents=True)
    model = make_model(base)
    model.refresh()
    shutil.rmtree(base)
    model.refresh()
    assert available_versions(model) == {1}


def test_new_versions_under_load_fail_no_request(bundles: TinyBundles, serve: Serve) -> None:
    """While versions 2, 3 (broken) and 4 appear under load, every request succeeds with the outputs of its version, and
    no caller sees an older version again.
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
        state = VersionState.END if version == 3 else VersionState.AVAILABLE
        wait_until(partial(_reached, address, version, state))
    wait_until(lambda: all(4 in versions for versions in seen))
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert all(versions == sorted(versions) and set(versions) <= {1, 2, 4} for versions in seen)


def _reached(address: ServerAddress, version: int, state: VersionState) -> bool:
    statuses = address.statuses()
    return version in statuses and int(statuses[version].state) == int(state)


def test_deleted_while_serving(bundles: TinyBundles, serve: Serve) -> None:
    """If the directory of a version is deleted under load, no call fails; the next newest version takes over."""
    bundles.write(1)
    bundles.write(2)
    address = serve(bundles.base).address
    stop, failures = threading.Event(), list[grpc.RpcError]()

    def caller() -> None:
        try:
            while not stop.is_set():
                address.predict_tiny()
        except grpc.RpcError as error:
            failures.append(error)

    thread = threading.Thread(target=caller)
    thread.start()
    shutil.rmtree(bundles.base / "2")
    wait_until(lambda: version_state(address, 2) == END and version_state(address, 1) == AVAILABLE)
    stop.set()
    thread.join()
    assert failures == []
    assert address.predict_tiny().model_spec.version.value == 1


def test_versions_are_never_mixed(bundles: TinyBundles, serve: Serve) -> None:
    """No response has rows of two versions, although requests to both wait at the same time."""
    bundles.write(1, loops=5)
    address = serve(bundles.base).address
    stop, wrong = threading.Event(), list[str]()

    def caller(rows: int) -> None:
        features = bundles.features(rows)
        spec = wire.ModelSpec(name="tiny")
        request = wire.PredictRequest(model_spec=spec, inputs=encode_tensors(features))
        last = 0
        while not stop.is_set():
            answer = address.predict(request)
            version = answer.model_spec.version.value
            logits = decode_tensor(answer.outputs["logits"])
            if version < last or logits.tolist() != (features["input_ids"] * version).tolist():
                wrong.append(f"version {version} after {last}")
            last = version

    threads = [threading.Thread(target=caller, args=(rows,)) for rows in (1, 3, 40)]
    for thread in threads:
        thread.start()
    for version in (2, 3):
        bundles.write(version, loops=5)
        wait_until(lambda version=version: version_state(address, version) == AVAILABLE)  # type: ignore[misc]
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
