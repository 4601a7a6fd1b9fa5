"""The runtimes, called without a server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bertbundle.errors import ManifestError, ServeError
from bertbundle_serving.cores import available_cores
from bertbundle_serving.runtimes import RuntimeOptions, Servable, loader, runtime_names

if TYPE_CHECKING:
    from tests.serving.conftest import Bundles


def load(directory: Path, name: str = "onnx") -> Servable:
    """Load a version with one thread."""
    return loader(name, RuntimeOptions(threads=1))(directory)


def test_registry() -> None:
    """The names of the runtimes are the values of the flag, auto first."""
    assert runtime_names() == ("auto", "onnx", "saved_model")


def test_unknown_runtime() -> None:
    """A runtime that does not exist is refused, with the ones that do."""
    with pytest.raises(ServeError, match=r"no runtime 'torch'\. Choose one of auto, onnx, saved_model"):
        loader("torch", RuntimeOptions())


@pytest.mark.parametrize("name", ["auto", "onnx"])
def test_auto_prefers_onnx(bundles: Bundles, name: str) -> None:
    """A version that has model.onnx is loaded by onnxruntime."""
    assert load(bundles.write(1), name).description == "runtime onnx threads 1"


def test_no_model_file(tmp_path: Path) -> None:
    """A directory that no runtime can load says which files would do."""
    with pytest.raises(ServeError, match=r"no model\.onnx or saved_model\.pb in .*Export the bundle there"):
        load(tmp_path, "auto")


def test_onnx_signatures(bundles: Bundles) -> None:
    """Every length of the manifest is a signature of one shape, and the bundle describes itself."""
    servable = load(bundles.write(1))
    assert set(servable.signatures) == {"serving_default", "length_4", "bundle_info"}
    length_4 = servable.signatures["length_4"]
    assert length_4.inputs["input_ids"].shape == (None, 4)
    assert length_4.outputs["logits"].dtype == np.float32
    assert servable.signatures["bundle_info"].inputs["row"].shape == (None,)


def test_onnx_computes_what_is_asked(bundles: Bundles) -> None:
    """The outputs asked for come back, in their dtypes."""
    servable = load(bundles.write(1, scale=2.0))
    inputs = bundles.features()
    outputs = servable.run("serving_default", inputs, ["logits", "label_ids"])
    np.testing.assert_array_equal(outputs["logits"], inputs["input_ids"] * np.float32(2))
    assert outputs["label_ids"].dtype == np.int32
    assert list(servable.run("serving_default", inputs, ["label_ids"])) == ["label_ids"]


def test_onnx_takes_read_only_arrays(bundles: Bundles) -> None:
    """Arrays that are views of a message's bytes need no copy."""
    inputs = bundles.features()
    for array in inputs.values():
        array.flags.writeable = False
    assert load(bundles.write(1)).run("serving_default", inputs, ["logits"])["logits"].shape == (2, 8)


def test_onnx_needs_its_manifest(bundles: Bundles) -> None:
    """A version without bundle.json does not load."""
    path = bundles.write(1)
    (path / "bundle.json").unlink()
    with pytest.raises(ManifestError, match=r"no bundle\.json"):
        load(path)


def test_onnx_and_manifest_must_agree(bundles: Bundles) -> None:
    """A graph without an output that the manifest promises does not load."""
    path = bundles.write(1)
    text = (path / "bundle.json").read_text(encoding="utf-8")
    (path / "bundle.json").write_text(text.replace('"logits"', '"scores"'), encoding="utf-8")
    with pytest.raises(ServeError, match=r"model\.onnx and bundle\.json disagree on the outputs scores"):
        load(path)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({"cpu.max": "100000 100000"}, 1, id="v2"),
        pytest.param({"cpu.max": "max 100000"}, None, id="v2-no-quota"),
        pytest.param({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 1, id="v1"),
        pytest.param({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None, id="v1-no-quota"),
        pytest.param({}, None, id="no-cgroup"),
    ],
)
def test_cores_follow_the_quota(tmp_path: Path, files: dict[str, str], expected: int | None) -> None:
    """A container's CPU quota counts, not the host's cores."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available_cores(tmp_path) == (expected or available_cores(tmp_path / "none"))


@pytest.mark.slow
def test_onnx_server_never_imports_tensorflow(bundles: Bundles) -> None:
    """Serving an ONNX bundle, warmup included, imports neither TensorFlow nor what only the export needs."""
    bundles.write(1)
    program = f"""
import asyncio, sys
from pathlib import Path
from bertbundle_serving.config import ModelConfig
from bertbundle_serving.server import Server, ServerOptions

async def main():
    server = Server(ServerOptions(models=(ModelConfig("tiny", Path({str(bundles.base)!r})),), port=0))
    await server.start()
    assert "runtime onnx" in server.banner()[1]
    await server.stop()

asyncio.run(main())
print([name for name in ("tensorflow", "transformers", "tf2onnx", "keras", "onnx") if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.slow
def test_saved_model_needs_no_bundle(tmp_path: Path, tensorflow: object, save_model: object) -> None:
    """Any SavedModel with signatures is served, its first dimensions left to the graph."""
    del tensorflow
    assert callable(save_model)
    save_model(tmp_path / "1")
    servable = load(tmp_path / "1", "auto")
    assert servable.description == "runtime saved_model threads 1"
    signature = servable.signatures["serving_default"]
    assert not signature.batched
    assert signature.inputs["input_ids"].shape == (None, 8)
    assert servable.signatures["bundle_info"].outputs["manifest"].dtype == np.dtype(object)


@pytest.mark.slow
def test_saved_model_of_any_kind(tmp_path: Path, tensorflow: Any) -> None:
    """Strings, unknown ranks and no rows at all pass through a SavedModel that is not a bundle."""
    tf = tensorflow
    join = tf.function(lambda text: {"joined": tf.strings.reduce_join(text, axis=-1)})
    text = tf.TensorSpec(None, tf.string, name="text")
    tf.saved_model.save(tf.Module(), str(tmp_path / "1"), signatures={"join": join.get_concrete_function(text)})
    servable = load(tmp_path / "1", "saved_model")
    assert servable.signatures["join"].inputs["text"].shape is None
    for value, expected in (([b"a", b"b"], b"ab"), ([[b"a"], [b"b"]], [b"a", b"b"]), ([], b"")):
        joined = servable.run("join", {"text": np.array(value, object)}, ["joined"])["joined"]
        assert joined.tolist() == expected


def test_saved_model_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without TensorFlow, a SavedModel's load says what to install."""
    (tmp_path / "saved_model.pb").touch()
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ServeError, match=r"pip install 'bertbundle-toolkit\[export\]'"):
        load(tmp_path, "saved_model")
