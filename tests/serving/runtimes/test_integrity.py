"""Files that differ from the manifest are not served."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bertbundle.contract.manifest import FileInfo
from bertbundle.wire import _wire_pb2 as wire
from bertbundle_serving.errors import ServeError
from bertbundle_serving.runtimes.integrity import check_digests, check_sizes
from embedded_server import Serve
from server_states import version_state
from tiny_bundles import TinyBundles
from waiting import wait_until

AVAILABLE, END = wire.ModelVersionStatus.AVAILABLE, wire.ModelVersionStatus.END


def test_damaged_file_keeps_the_old_version(bundles: TinyBundles, serve: Serve) -> None:
    """A version with a file that does not have the digest in the manifest is broken, and the old version stays."""
    bundles.write(1, digests=True)
    address = serve(bundles.base).address
    hidden = bundles.write("2.tmp", scale=2.0, digests=True)
    data = bytearray((hidden / "model.onnx").read_bytes())
    data[-40] ^= 1
    (hidden / "model.onnx").write_bytes(data)
    hidden.rename(bundles.base / "2")
    wait_until(lambda: version_state(address, 2) == END)
    message = address.statuses()[2].status.error_message
    assert "model.onnx has SHA-256" in message
    assert address.predict_tiny().model_spec.version.value == 1


def test_version_that_appears_file_by_file(bundles: TinyBundles, serve: Serve) -> None:
    """A version that is copied slowly is served when it is complete, and not before."""
    bundles.write(1, digests=True)
    address = serve(bundles.base).address
    source = bundles.write("2.tmp", scale=2.0, digests=True)
    target = bundles.base / "2"
    files = [path for path in sorted(source.rglob("*")) if path.is_file()]
    for path in files:
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        half = len(path.read_bytes()) // 2
        for size in (half, None):
            assert address.predict_tiny().model_spec.version.value == 1
            copy.write_bytes(path.read_bytes()[:size])
            time.sleep(0.05)
    wait_until(lambda: version_state(address, 2) == AVAILABLE)
    assert address.predict_tiny().model_spec.version.value == 2


def test_half_copied_bundle_is_not_served_by_another_runtime(bundles: TinyBundles, serve: Serve) -> None:
    """While model.onnx is missing, the SavedModel of the same version is not served instead."""
    bundles.write(1, digests=True)
    address = serve(bundles.base).address
    hidden = bundles.write("2.tmp", digests=True, scale=2.0)
    (hidden / "model.onnx").unlink()
    (hidden / "saved_model.pb").write_bytes(b"")
    hidden.rename(bundles.base / "2")
    wait_until(lambda: version_state(address, 2) == END)
    assert "model.onnx is in bundle.json but not in" in address.statuses()[2].status.error_message


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b"])
def test_manifest_paths_outside_the_bundle(tmp_path: Path, name: str) -> None:
    """A path in a manifest that points outside the bundle is rejected before any file is read."""
    for check in (check_sizes, check_digests):
        with pytest.raises(ServeError, match="a path outside the bundle"):
            check(tmp_path, {name: FileInfo(0, "")})
