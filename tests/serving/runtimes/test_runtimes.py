"""The choice of a runtime and of a precision."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from bertbundle_serving.errors import ServeError
from bertbundle_serving.runtimes import RuntimeOptions, loader, runtime_names
from optional import needs_openvino
from runtime_files import GRAPHS, load, write_graphs
from tiny_bundles import TinyBundles


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], None]:
    """Return a function that fakes the processor's flag for fast bfloat16; None for a processor without it."""

    def set_flag(flag: str | None) -> None:
        for module in ("bertbundle_serving.runtimes", "bertbundle_serving.runtimes.saved_model"):
            monkeypatch.setattr(f"{module}.fast_bfloat16", lambda: flag)

    return set_flag


def test_registry() -> None:
    """The values of the flag are auto and the names of the runtimes."""
    assert runtime_names() == ("auto", "openvino", "onnx", "saved_model")


def test_unknown_runtime() -> None:
    """The message about an unknown runtime lists the known ones."""
    with pytest.raises(ServeError, match=r"no runtime 'torch'\. Choose one of auto, openvino, onnx, saved_model"):
        loader("torch", RuntimeOptions())


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
def test_auto_prefers_openvino(
    bundles: TinyBundles, processor: Callable[[str | None], None], precision: str, flag: str | None, expected: str
) -> None:
    """OpenVINO is the first choice. A bfloat16 bundle runs in bfloat16 only where that is fast."""
    processor(flag)
    assert load(write_graphs(bundles, precision), "auto").description.startswith(f"runtime {expected}")


@needs_openvino
def test_auto_skips_missing_runtimes_and_files(
    bundles: TinyBundles, processor: Callable[[str | None], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If OpenVINO or its model file is missing, onnxruntime serves, and the description says why."""
    processor("amx_bf16")
    path = write_graphs(bundles, "bfloat16")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "openvino", None)
        assert load(path, "auto").description.endswith("threads 1 (auto: openvino is not installed)")
        with pytest.raises(ServeError, match=r"pip install 'bertbundle-toolkit\[openvino\]'"):
            load(path, "openvino")
    (path / GRAPHS["openvino"]).unlink()
    assert load(path, "auto").description.endswith("threads 1 (auto: no model_standard.onnx for openvino)")


@needs_openvino
def test_auto_skips_runtimes_that_do_not_support_the_graph(
    bundles: TinyBundles, caplog: pytest.LogCaptureFixture
) -> None:
    """If OpenVINO does not support a graph, onnxruntime serves it; with --runtime openvino it is an error."""
    path = write_graphs(bundles)
    model = onnx.load(path / GRAPHS["openvino"])
    model.graph.node[0].op_type = "NobodyHasThis"
    onnx.save(model, path / GRAPHS["openvino"])
    assert load(path, "auto").description.endswith("threads 1 (auto: openvino does not support this model)")
    assert "OpenVINO cannot load model_standard.onnx" in caplog.text
    with pytest.raises(ServeError, match=r"OpenVINO cannot load model_standard\.onnx of .*NobodyHasThis"):
        load(path, "openvino")


@pytest.mark.parametrize("name", ["onnx", pytest.param("openvino", marks=needs_openvino)])
def test_float16_files_on_a_cpu(bundles: TinyBundles, caplog: pytest.LogCaptureFixture, name: str) -> None:
    """On a CPU, files in float16 are computed in float32, which a warning says; no other precision can be requested."""
    path = write_graphs(bundles, "float16")
    servable = loader(name, RuntimeOptions(threads=1, device="cpu"))(path)
    assert servable.description == f"runtime {name} precision float32 threads 1"
    assert [message.partition(" has ")[2] for message in caplog.messages] == [
        "ONNX files in float16, for GPUs; on this CPU they are computed in float32"
    ]
    with pytest.raises(ServeError, match=r"are float16, but --precision is float32\. Omit it, or export"):
        loader(name, RuntimeOptions(precision="float32"))(path)


def test_int8_files_are_int8(bundles: TinyBundles) -> None:
    """Requesting another precision for int8 files is an error that says what to do."""
    path = write_graphs(bundles, "int8")
    assert load(path, "onnx").description == "runtime onnx precision int8 threads 1"
    with pytest.raises(ServeError, match=r"are int8, but --precision is float32\. Omit it, or export"):
        loader("onnx", RuntimeOptions(precision="float32"))(path)


def test_unsupported_precision() -> None:
    """The message about an unsupported precision names the runtimes that support it."""
    for name in ("onnx", "saved_model"):
        with pytest.raises(ServeError, match=f"runtime {name} does not support bfloat16. Choose --runtime openvino"):
            loader(name, RuntimeOptions(precision="bfloat16"))


@needs_openvino
def test_slow_bfloat16_warns(
    bundles: TinyBundles, processor: Callable[[str | None], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Requesting bfloat16 on a processor without fast bfloat16 logs a warning that names the missing flags."""
    path = write_graphs(bundles)
    for flag, expected in (
        ("avx512_bf16", []),
        (None, ["bfloat16 is slow on this processor: it has none of amx_bf16"]),
    ):
        processor(flag)
        caplog.clear()
        loader("openvino", RuntimeOptions(threads=1, precision="bfloat16"))(path)
        assert [message.partition(",")[0] for message in caplog.messages] == expected


def test_no_model_file(tmp_path: Path) -> None:
    """The message about a directory that no runtime can load names the model files that are missing."""
    with pytest.raises(ServeError, match=r"no .*model\.onnx or saved_model\.pb in .*Export the bundle there"):
        load(tmp_path, "auto")


_TELEMETRY_VARIABLES = ("ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "CI", "GITHUB_ACTIONS", "XDG_CACHE_HOME")


@pytest.mark.parametrize("runtime", ["onnx", pytest.param("openvino", marks=needs_openvino)])
@pytest.mark.slow
def test_no_telemetry(bundles: TinyBundles, tmp_path: Path, runtime: str) -> None:
    """Loading a model starts no telemetry of the runtime, which would begin by writing files to the home directory."""
    path, home = write_graphs(bundles), tmp_path / "home"
    home.mkdir()
    program = f"""
from pathlib import Path
from bertbundle_serving.runtimes import RuntimeOptions, loader

loader({runtime!r}, RuntimeOptions(precision="float32"))(Path({str(path)!r}))
"""
    # onnxruntime disables its telemetry by itself if these variables indicate a test.
    kept = {name: value for name, value in os.environ.items() if name not in _TELEMETRY_VARIABLES}
    subprocess.run([sys.executable, "-c", program], check=True, env={**kept, "HOME": str(home)})
    assert list(home.rglob("*")) == []
