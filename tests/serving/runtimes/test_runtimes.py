"""The runtimes, called without a server."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from bertbundle.contract.manifest import Manifest
from bertbundle.errors import ManifestError
from bertbundle_serving.cores import available_cores
from bertbundle_serving.errors import ServeError
from bertbundle_serving.runtimes import RuntimeOptions, Servable, loader, runtime_names
from optional import needs_openvino

if TYPE_CHECKING:
    from tests.serving.conftest import Bundles


def load(directory: Path, name: str = "onnx") -> Servable:
    """Load a version with one thread."""
    return loader(name, RuntimeOptions(threads=1))(directory)


GRAPHS = {"onnx": "model.onnx", "openvino": "model_standard.onnx"}


@pytest.fixture(params=["onnx", pytest.param("openvino", marks=needs_openvino)])
def graph(request: pytest.FixtureRequest) -> str:
    """Name a runtime of graphs of any length."""
    name: str = request.param
    return name


def write(bundles: Bundles, precision: str = "float32") -> Path:
    """Write the tiny bundle with the files of both runtimes."""
    path = bundles.write(1, scale=2.0)
    shutil.copyfile(path / GRAPHS["onnx"], path / GRAPHS["openvino"])
    manifest = Manifest.read(path)
    (path / "bundle.json").write_text(dataclasses.replace(manifest, precision=precision).to_json(), encoding="utf-8")
    return path


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], None]:
    """Let the processor have the flag given, or none."""

    def have(flag: str | None) -> None:
        for module in ("bertbundle_serving.runtimes", "bertbundle_serving.runtimes.saved_model"):
            monkeypatch.setattr(f"{module}.fast_bfloat16", lambda: flag)

    return have


def test_registry() -> None:
    """The names of the runtimes are the values of the flag, auto first."""
    assert runtime_names() == ("auto", "openvino", "onnx", "saved_model")


def test_unknown_runtime() -> None:
    """A runtime that does not exist is refused, with the ones that do."""
    with pytest.raises(ServeError, match=r"no runtime 'torch'\. Choose one of auto, openvino, onnx, saved_model"):
        loader("torch", RuntimeOptions())


@needs_openvino
def test_openvino_computes_as_many_batches_at_a_time_as_the_engine(
    bundles: Bundles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A computation of fewer threads than there are cores leaves the others to further ones: a stream each."""
    import openvino

    given, compile_model = dict[str, object](), openvino.Core.compile_model

    def watched(core: openvino.Core, path: str, device: str, settings: dict[str, object]) -> object:
        given.update(settings)
        return compile_model(core, path, device, settings)

    monkeypatch.setattr(openvino.Core, "compile_model", watched)
    monkeypatch.setattr("bertbundle_serving.runtimes.openvino.available_cores", lambda: 5)
    loader("openvino", RuntimeOptions(threads=2))(write(bundles))
    assert given.items() >= {"NUM_STREAMS": 2, "INFERENCE_NUM_THREADS": 4}.items()


@needs_openvino
@pytest.mark.parametrize(
    ("precision", "flag", "expected"),
    [
        pytest.param("float32", "amx_bf16", "openvino precision float32 threads 1 (auto: the first", id="f32"),
        pytest.param("int8", None, "openvino precision int8 threads 1 (auto: the first choice for int8", id="int8"),
        pytest.param("bfloat16", "amx_bf16", "openvino precision bfloat16 threads 1 (auto: the first", id="bf16"),
        pytest.param("bfloat16", None, "openvino precision float32 threads 1 (auto: the first", id="slow"),
    ],
)
def test_auto_takes_what_is_fastest(
    bundles: Bundles, processor: Callable[[str | None], None], precision: str, flag: str | None, expected: str
) -> None:
    """OpenVINO is the first choice, in bfloat16 what was exported for it where that is fast; and it is said why."""
    processor(flag)
    assert load(write(bundles, precision), "auto").description.startswith(f"runtime {expected}")


@needs_openvino
def test_auto_passes_over_what_is_missing(
    bundles: Bundles, processor: Callable[[str | None], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without OpenVINO, or without its file, onnxruntime serves, and it is said why."""
    processor("amx_bf16")
    path = write(bundles, "bfloat16")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "openvino", None)
        assert load(path, "auto").description.endswith("threads 1 (auto: openvino is not installed)")
        with pytest.raises(ServeError, match=r"pip install 'bertbundle-toolkit\[openvino\]'"):
            load(path, "openvino")
    (path / GRAPHS["openvino"]).unlink()
    assert load(path, "auto").description.endswith("threads 1 (auto: no model_standard.onnx for openvino)")


@needs_openvino
def test_auto_passes_over_what_cannot_compute(bundles: Bundles, caplog: pytest.LogCaptureFixture) -> None:
    """A graph that OpenVINO does not know is served by onnxruntime, and it is said why; asked for, it is an error."""
    path = write(bundles)
    model = onnx.load(path / GRAPHS["openvino"])
    model.graph.node[0].op_type = "NobodyHasThis"
    onnx.save(model, path / GRAPHS["openvino"])
    assert load(path, "auto").description.endswith("threads 1 (auto: openvino cannot compute this model)")
    assert "OpenVINO does not load model_standard.onnx" in caplog.text
    with pytest.raises(ServeError, match=r"OpenVINO does not load model_standard\.onnx of .*NobodyHasThis"):
        load(path, "openvino")


@needs_openvino
def test_int8_without_its_instructions(
    bundles: Bundles, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where OpenVINO's int8 products would overflow onnxruntime serves, whose setting avoids it, and warns."""
    for module in ("openvino", "onnx"):
        monkeypatch.setattr(f"bertbundle_serving.runtimes.{module}.fast_int8", lambda: None)
    path = write(bundles, "int8")
    with pytest.raises(ServeError, match="int8 products overflow on this processor: it has none of amx_int8"):
        load(path, "openvino")
    assert load(path, "auto").description.startswith("runtime onnx precision int8 threads 1 (auto: openvino cannot")
    assert "int8 is slow on this processor" in caplog.text


def test_int8_files_are_int8(bundles: Bundles) -> None:
    """Another precision than that of the files is refused, with what to do."""
    path = write(bundles, "int8")
    assert load(path, "onnx").description == "runtime onnx precision int8 threads 1"
    with pytest.raises(ServeError, match=r"are int8, --precision float32 was asked for\. Leave it out, or export"):
        loader("onnx", RuntimeOptions(precision="float32"))(path)


def test_precision_must_be_one_that_the_runtime_has() -> None:
    """A precision that a runtime does not have is refused, with those that do."""
    for name in ("onnx", "saved_model"):
        with pytest.raises(ServeError, match=f"runtime {name} cannot compute in bfloat16. Choose --runtime openvino"):
            loader(name, RuntimeOptions(precision="bfloat16"))


@needs_openvino
def test_slow_bfloat16_is_said(
    bundles: Bundles, processor: Callable[[str | None], None], caplog: pytest.LogCaptureFixture
) -> None:
    """bfloat16 on a processor that is slow in it is a warning, which names what the processor lacks."""
    path = write(bundles)
    for flag, expected in (
        ("avx512_bf16", []),
        (None, ["bfloat16 is slow on this processor: it has none of amx_bf16"]),
    ):
        processor(flag)
        caplog.clear()
        loader("openvino", RuntimeOptions(threads=1, precision="bfloat16"))(path)
        assert [message.partition(",")[0] for message in caplog.messages] == expected


def test_no_model_file(tmp_path: Path) -> None:
    """A directory that no runtime can load says which files would do."""
    with pytest.raises(ServeError, match=r"no .*model\.onnx or saved_model\.pb in .*Export the bundle there"):
        load(tmp_path, "auto")


def test_graph_signatures(bundles: Bundles, graph: str) -> None:
    """Every length of the manifest is a signature of one shape, and the bundle describes itself."""
    servable = load(write(bundles), graph)
    assert set(servable.signatures) == {"serving_default", "length_4", "bundle_info"}
    length_4 = servable.signatures["length_4"]
    assert length_4.inputs["input_ids"].shape == (None, 4)
    assert length_4.outputs["logits"].dtype == np.float32
    assert servable.signatures["bundle_info"].inputs["row"].shape == (None,)


def test_graph_computes_what_is_asked(bundles: Bundles, graph: str) -> None:
    """The outputs asked for come back, in their dtypes."""
    servable = load(write(bundles), graph)
    inputs = bundles.features()
    outputs = servable.run("serving_default", inputs, ["logits", "label_ids"])
    np.testing.assert_array_equal(outputs["logits"], inputs["input_ids"] * np.float32(2))
    assert outputs["label_ids"].dtype == np.int32
    assert list(servable.run("serving_default", inputs, ["label_ids"])) == ["label_ids"]


def test_graph_takes_read_only_arrays(bundles: Bundles, graph: str) -> None:
    """Arrays that are views of a message's bytes need no copy."""
    inputs = bundles.features()
    for array in inputs.values():
        array.flags.writeable = False
    assert load(write(bundles), graph).run("serving_default", inputs, ["logits"])["logits"].shape == (2, 8)


def test_graph_needs_its_manifest(bundles: Bundles, graph: str) -> None:
    """A version without bundle.json does not load."""
    path = write(bundles)
    (path / "bundle.json").unlink()
    with pytest.raises(ManifestError, match=r"no bundle\.json"):
        load(path, graph)


def test_graph_and_manifest_must_agree(bundles: Bundles, graph: str) -> None:
    """A graph without an output that the manifest promises does not load."""
    path = write(bundles)
    text = (path / "bundle.json").read_text(encoding="utf-8")
    (path / "bundle.json").write_text(text.replace('"logits"', '"scores"'), encoding="utf-8")
    with pytest.raises(ServeError, match=rf"{GRAPHS[graph]} and bundle\.json disagree on the outputs scores"):
        load(path, graph)


def test_graph_answers_no_rows(bundles: Bundles, graph: str) -> None:
    """A call of no rows is answered by none."""
    outputs = load(write(bundles), graph).run("serving_default", bundles.features(rows=0), ["logits", "label_ids"])
    assert {name: (values.shape, values.dtype.name) for name, values in outputs.items()} == {
        "logits": ((0, 8), "float32"),
        "label_ids": ((0, 8), "int32"),
    }


def test_graph_computes_in_several_threads(bundles: Bundles, graph: str) -> None:
    """Calls at the same time do not write over each other's answers."""
    servable = load(write(bundles), graph)

    def compute(seed: int) -> bool:
        inputs = {name: (values + seed) % 2 for name, values in bundles.features(rows=50).items()}
        logits = [servable.run("serving_default", inputs, ["logits"])["logits"] for _ in range(20)]
        return all(np.array_equal(values, inputs["input_ids"] * np.float32(2)) for values in logits)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(compute, range(8)))


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
from bertbundle_serving.config.models import ModelConfig
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
    assert servable.description.startswith("runtime saved_model precision its own threads 1 (auto: ")
    signature = servable.signatures["serving_default"]
    assert not signature.batched
    assert signature.inputs["input_ids"].shape == (None, 8)
    assert servable.signatures["bundle_info"].outputs["manifest"].dtype == np.dtype(object)


_QUIET = ("ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "CI", "GITHUB_ACTIONS", "XDG_CACHE_HOME")


@pytest.mark.parametrize("runtime", ["onnx", pytest.param("openvino", marks=needs_openvino)])
@pytest.mark.slow
def test_runtimes_report_nothing(bundles: Bundles, tmp_path: Path, runtime: str) -> None:
    """Loading a model starts no runtime's telemetry, which would write its files to the home directory first."""
    path, home = write(bundles), tmp_path / "home"
    home.mkdir()
    program = f"""
from pathlib import Path
from bertbundle_serving.runtimes import RuntimeOptions, loader

loader({runtime!r}, RuntimeOptions(precision="float32"))(Path({str(path)!r}))
"""
    # Where it believes to be tested, onnxruntime reports nothing by itself.
    kept = {name: value for name, value in os.environ.items() if name not in _QUIET}
    subprocess.run([sys.executable, "-c", program], check=True, env={**kept, "HOME": str(home)})
    assert list(home.rglob("*")) == []


@pytest.mark.slow
def test_slow_saved_model_is_said(
    bundles: Bundles,
    processor: Callable[[str | None], None],
    caplog: pytest.LogCaptureFixture,
    tensorflow: Any,
    save_model: Any,
) -> None:
    """A bfloat16 SavedModel on a processor that is slow in it is a warning, which says what to do."""
    del tensorflow
    path = write(bundles, "bfloat16")
    save_model(path)
    processor("amx_bf16")
    assert load(path, "saved_model").description == "runtime saved_model precision bfloat16 threads 1"
    assert not caplog.messages
    processor(None)
    load(path, "saved_model")
    assert "is a bfloat16 SavedModel, which is slow on this processor" in caplog.text
    assert "Use --runtime onnx" in caplog.text


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
