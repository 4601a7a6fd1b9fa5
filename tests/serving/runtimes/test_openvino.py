"""The OpenVINO runtime."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from bertbundle.contract.manifest import BUNDLE_INFO
from bertbundle_serving.errors import ServeError
from bertbundle_serving.runtimes import RuntimeOptions, loader
from bertbundle_serving.runtimes.openvino import OpenVinoServable
from optional import needs_openvino
from runtime_files import load, write_graphs
from tiny_bundles import TinyBundles


def record_settings(monkeypatch: pytest.MonkeyPatch, cores: int) -> list[tuple[object, object]]:
    """Let the runtime see a number of cores; return the list of streams and threads that models are compiled for."""
    import openvino

    passed, compile_model = list[tuple[object, object]](), openvino.Core.compile_model

    def record_and_compile(core: openvino.Core, model: object, device: str, settings: dict[str, object]) -> object:
        passed.append((settings["NUM_STREAMS"], settings["INFERENCE_NUM_THREADS"]))
        return compile_model(core, model, device, settings)

    monkeypatch.setattr(openvino.Core, "compile_model", record_and_compile)
    for module in ("openvino", "bundle"):
        monkeypatch.setattr(f"bertbundle_serving.runtimes.{module}.available_cores", lambda: cores)
    return passed


@needs_openvino
def test_openvino_streams(bundles: TinyBundles, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fewer threads than cores, OpenVINO has as many streams as the engine computes batches at the same time."""
    passed = record_settings(monkeypatch, cores=5)
    servable = loader("openvino", RuntimeOptions(threads=2))(write_graphs(bundles))
    servable.prepare_for_load()
    assert passed == [(2, 4)]
    assert servable.concurrency == 2


@needs_openvino
def test_openvino_compiles_for_load(bundles: TinyBundles, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default a computation has all cores; after load each of several computations has one, once and for all."""
    passed = record_settings(monkeypatch, cores=2)
    servable = loader("openvino", RuntimeOptions())(write_graphs(bundles))
    assert (passed, servable.concurrency, servable.threads) == ([(1, 2)], 1, 2)
    for _ in range(2):
        servable.prepare_for_load()
    assert (passed, servable.concurrency) == ([(1, 2), (2, 2)], 2)


@needs_openvino
def test_openvino_models_agree(bundles: TinyBundles) -> None:
    """A computation that starts while another one is running has its own outputs, from the model for several."""
    servable = loader("openvino", RuntimeOptions())(write_graphs(bundles))
    assert isinstance(servable, OpenVinoServable)
    signature = next(name for name in servable.signatures if name != BUNDLE_INFO)
    specs = servable.signatures[signature]
    names = list(specs.outputs)

    def compute(seed: int) -> dict[str, Any]:
        draw = np.random.default_rng(seed)
        sizes = {name: (3, *(size or 1 for size in (spec.shape or ())[1:])) for name, spec in specs.inputs.items()}
        inputs = {name: draw.integers(0, 2, shape).astype(np.int32) for name, shape in sizes.items()}
        return servable.run(signature, inputs, names)

    alone = [compute(seed) for seed in range(16)]
    servable.prepare_for_load()
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(compute, range(16)))
    for expected, got in zip(alone, together, strict=True):
        for name in names:
            np.testing.assert_allclose(got[name], expected[name], rtol=1e-5, atol=1e-6)
    servable.close()
    with pytest.raises(ValueError, match="the servable is closed"):
        compute(0)


@needs_openvino
def test_openvino_that_cannot_compile_again(
    bundles: TinyBundles, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If the model cannot be compiled for load, a warning says so, and the server goes on with the first model."""
    import openvino

    servable = loader("openvino", RuntimeOptions())(write_graphs(bundles))

    def fail(*_: Any) -> object:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(openvino.Core, "compile_model", fail)
    monkeypatch.setattr(servable, "threads", 2)
    servable._compile = servable._compile or fail  # type: ignore[attr-defined]  # on a machine with one core
    servable.prepare_for_load()
    assert servable.concurrency == 1
    assert "not compiled a second time: out of memory" in caplog.text


@needs_openvino
def test_openvino_closed_while_it_compiles(bundles: TinyBundles, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that was compiled for load after the version was unloaded is dropped."""
    import openvino

    servable = loader("openvino", RuntimeOptions())(write_graphs(bundles))
    compile_model = openvino.Core.compile_model

    def close_and_compile(*arguments: Any) -> object:
        servable.close()
        return compile_model(*arguments)

    monkeypatch.setattr(openvino.Core, "compile_model", close_and_compile)
    concurrency = servable.concurrency
    servable.prepare_for_load()
    assert servable.concurrency == concurrency


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
