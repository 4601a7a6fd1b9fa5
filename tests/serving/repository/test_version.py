"""A version stays loaded while it has users."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.tensors import encode_tensors
from bertbundle_serving.repository.version import VersionState
from bertbundle_serving.runtimes import onnx
from embedded_server import PREDICT, Serve
from fake_versions import make_model, version_states
from server_states import version_state
from tiny_bundles import TinyBundles
from waiting import wait_until

END = wire.ModelVersionStatus.END


def test_reload_while_the_old_servable_is_in_use(tmp_path: Path) -> None:
    """If a version is loaded again while its old servable is in use, it stays available after the old one is closed."""
    (tmp_path / "1").mkdir()
    model = make_model(tmp_path)
    model.refresh()
    version = model.versions[1]
    assert version.acquire()
    (tmp_path / "1").rmdir()
    model.refresh()
    (tmp_path / "1").mkdir()
    model.refresh()
    version.release()
    assert version_states(model) == {1: VersionState.AVAILABLE}


def test_version_stays_loaded_until_a_cancelled_call_ends(
    bundles: TinyBundles, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version is closed only after the computation of a cancelled call has ended."""
    bundles.write(1)
    server = serve(bundles.base, warmup=False)
    running, gate, events = threading.Event(), threading.Event(), list[str]()
    close = onnx.OnnxServable.close

    def run(*_: Any) -> dict[str, Any]:
        running.set()
        gate.wait(20)
        events.append("computed")
        return {}

    def record_close(servable: onnx.OnnxServable) -> None:
        events.append("closed")
        close(servable)

    monkeypatch.setattr(onnx.OnnxServable, "run", run)
    monkeypatch.setattr(onnx.OnnxServable, "close", record_close)
    request = wire.PredictRequest(model_spec=wire.ModelSpec(name="tiny"), inputs=encode_tensors(bundles.features()))
    call = server.address.channel.unary_unary(PREDICT).future(request.SerializeToString())
    assert running.wait(20)
    call.cancel()
    bundles.write(2)
    _wait_for_state(server.address, 1, wire.ModelVersionStatus.UNLOADING)
    gate.set()
    _wait_for_state(server.address, 1, wire.ModelVersionStatus.END)
    assert events == ["computed", "closed"]


def _wait_for_state(address: Any, version: int, state: int) -> None:
    wait_until(lambda: address.statuses()[version].state == state)


@pytest.mark.slow
def test_unload_frees_memory(bundles: TinyBundles, serve: Serve) -> None:
    """Unloading frees memory: after ten new versions with 40 MB of weights each, the memory has grown by < 80 MB."""
    bundles.write(1, ballast=40 << 20)
    address = serve(bundles.base).address
    before = 0
    for version in range(2, 13):
        hidden = bundles.base / f".{version}"
        shutil.copytree(bundles.base / str(version - 1), hidden)
        hidden.rename(bundles.base / str(version))
        wait_until(lambda version=version: version_state(address, version - 1) == END)  # type: ignore[misc]
        shutil.rmtree(bundles.base / str(version - 1))
        before = before or _resident()
    assert _resident() - before < 80 << 20


def _resident() -> int:
    """Return the resident memory of this process in bytes (proc(5): statm counts pages)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
