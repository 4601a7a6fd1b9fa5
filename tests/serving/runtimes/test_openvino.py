"""The OpenVINO runtime."""

from __future__ import annotations

import pytest

from bertbundle_serving.errors import ServeError
from bertbundle_serving.runtimes import RuntimeOptions, loader
from optional import needs_openvino
from runtime_files import load, write_graphs
from tiny_bundles import TinyBundles


@needs_openvino
def test_openvino_streams(bundles: TinyBundles, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fewer threads than cores, OpenVINO has as many streams as the engine computes batches at the same time."""
    import openvino

    passed, compile_model = dict[str, object](), openvino.Core.compile_model

    def record_and_compile(core: openvino.Core, path: str, device: str, settings: dict[str, object]) -> object:
        passed.update(settings)
        return compile_model(core, path, device, settings)

    monkeypatch.setattr(openvino.Core, "compile_model", record_and_compile)
    monkeypatch.setattr("bertbundle_serving.runtimes.openvino.available_cores", lambda: 5)
    loader("openvino", RuntimeOptions(threads=2))(write_graphs(bundles))
    assert passed.items() >= {"NUM_STREAMS": 2, "INFERENCE_NUM_THREADS": 4}.items()


@needs_openvino
def test_int8_without_its_instructions(
    bundles: TinyBundles, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If OpenVINO's int8 products would overflow on this processor, onnxruntime serves instead, with a warning."""
    for module in ("openvino", "onnx"):
        monkeypatch.setattr(f"bertbundle_serving.runtimes.{module}.fast_int8", lambda: None)
    path = write_graphs(bundles, "int8")
    with pytest.raises(ServeError, match="int8 products overflow on this processor: it has none of amx_int8"):
        load(path, "openvino")
    assert load(path, "auto").description.startswith(
        "runtime onnx precision int8 threads 1 (auto: openvino does not support"
    )
    assert "int8 is slow on this processor" in caplog.text
