"""A model follows its base path: versions come and go without a failed request."""

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
    """A new version is available before the old one goes, and the old one is closed."""
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
    """A version that does not load ends with its error, and the one before stays."""
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
    """A restart with a broken newest version ends where the running server was: on the one before."""
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "broken").write_text("no weights")
    model = make_model(tmp_path)
    model.refresh()
    assert available_versions(model) == {1}


def test_broken_version_is_tried_again_when_its_files_change(tmp_path: Path) -> None:
    """A broken version is left alone until its files change."""
    tries: list[Path] = []

    def load(directory: Path) -> FakeServable:
        tries.append(directory)
        return load_fake(directory)

    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "broken").write_text("no weights")
    model = Model(ModelConfig("m", tmp_path), LoadOptions(load))
    model.refresh()
    model.refresh()
    assert len(tries) == 1
    (tmp_path / "1" / "broken").unlink()
    model.refresh()
    assert available_versions(model) == {1}


def test_broken_version_is_tried_again(tmp_path: Path) -> None:
    """A version that did not load, for a reason outside its files, is tried again, so often and no more."""
    (tmp_path / "1").mkdir()
    tries: list[Path] = []

    def load(directory: Path) -> Any:
        tries.append(directory)
        raise OSError("the share is away")

    model = Model(ModelConfig("m", tmp_path), LoadOptions(load, retries=2, retry_seconds=0.0))
    for _ in range(5):
        model.refresh()
    assert len(tries) == 3
    assert model.statuses()[0].state == VersionState.END


def test_retry_waits(tmp_path: Path) -> None:
    """It is not tried again before the interval is over."""
    (tmp_path / "1").mkdir()
    tries: list[Path] = []

    def load(directory: Path) -> Any:
        tries.append(directory)
        raise OSError("the share is away")

    model = Model(ModelConfig("m", tmp_path), LoadOptions(load, retry_seconds=60))
    model.refresh()
    model.refresh()
    assert len(tries) == 1


def test_deleted_version_falls_back(tmp_path: Path) -> None:
    """A version whose directory is deleted is unloaded, and the next newest served."""
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    model = make_model(tmp_path)
    model.refresh()
    (tmp_path / "2").rmdir()
    model.refresh()
    assert version_states(model) == {1: VersionState.AVAILABLE, 2: VersionState.END}


def test_vanished_base_path_keeps_what_is_loaded(tmp_path: Path) -> None:
    """A base path that cannot be listed (a share that is away) takes nothing away."""
    base = tmp_path / "base"
    (base / "1").mkdir(parents=True)
    model = make_model(base)
    model.refresh()
    shutil.rmtree(base)
    model.refresh()
    assert available_versions(model) == {1}


def test_swap_under_load_fails_no_request(bundles: TinyBundles, serve: Serve) -> None:
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
    """A version whose directory is deleted while it answers fails no call; the next newest takes over."""
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


def test_swap_answers_are_never_mixed(bundles: TinyBundles, serve: Serve) -> None:
    """In a swap no answer holds rows of two versions, though requests of both wait at the same time."""
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
