"""The OpenVINO runtime."""

from __future__ import annotations

import pytest

from bertbundle_serving.errors import ServeError
from bertbundle_serving.runtimes import RuntimeOptions, loader
from optional import needs_openvino
from runtime_files import load, write_graphs
from tiny_bundles import TinyBundles


@needs_openvino
def test_openvino_computes_as_many_batches_at_a_time_as_the_engine(
    bundles: TinyBundles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A computation of fewer threads than there are cores leaves the others to further ones: a stream each."""
    import openvino

    given, compile_model = dict[str, object](), openvino.Core.compile_model

    def watched(core: openvino.Core, path: str, device: str, settings: dict[str, object]) -> object:
        given.update(settings)
        return compile_model(core, path, device, settings)

    monkeypatch.setattr(openvino.Core, "compile_model", watched)
    monkeypatch.setattr("bertbundle_serving.runtimes.openvino.available_cores", lambda: 5)
    loader("openvino", RuntimeOptions(threads=2))(write_graphs(bundles))
    assert given.items() >= {"NUM_STREAMS": 2, "INFERENCE_NUM_THREADS": 4}.items()


@needs_openvino
def test_int8_without_its_instructions(
    bundles: TinyBundles, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where OpenVINO's int8 products would overflow onnxruntime serves, whose setting avoids it, and warns."""
    for module in ("openvino", "onnx"):
        monkeypatch.setattr(f"bertbundle_serving.runtimes.{module}.fast_int8", lambda: None)
    path = write_graphs(bundles, "int8")
    with pytest.raises(ServeError, match="int8 products overflow on this processor: it has none of amx_int8"):
        load(path, "openvino")
    assert load(path, "auto").description.startswith(
        "runtime onnx precision int8 threads 1 (auto: openvino does not support"
    )
    assert "int8 is slow on this processor" in caplog.text
