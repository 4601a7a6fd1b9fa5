"""The SavedModel runtime."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle_serving.errors import ServeError
from bertbundle_serving.runtimes import RuntimeOptions, loader
from optional import skip_without
from runtime_files import load, write_graphs
from tiny_bundles import TinyBundles, features


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], None]:
    """Return a function that fakes the processor's flag for bfloat16 and int8; None for a processor without them."""

    def set_flag(flag: str | None) -> None:
        for module in ("bertbundle_serving.runtimes", "bertbundle_serving.runtimes.saved_model"):
            monkeypatch.setattr(f"{module}.fast_bfloat16", lambda: flag)
        monkeypatch.setattr("bertbundle_serving.runtimes.saved_model.fast_int8", lambda: flag)

    return set_flag


@pytest.mark.slow
def test_saved_model_needs_no_bundle(tmp_path: Path, tensorflow: object, save_model: object) -> None:
    """Any SavedModel with signatures can be loaded; its calls are not batched."""
    del tensorflow
    assert callable(save_model)
    save_model(tmp_path / "1")
    servable = load(tmp_path / "1", "auto")
    assert servable.description.startswith("runtime saved_model precision its own threads 1 (auto: ")
    signature = servable.signatures["serving_default"]
    assert not signature.batched
    assert signature.inputs["input_ids"].shape == (None, 8)
    assert servable.signatures["bundle_info"].outputs["manifest"].dtype == np.dtype(object)


@pytest.mark.slow
def test_slow_saved_model_warns(
    bundles: TinyBundles,
    processor: Callable[[str | None], None],
    caplog: pytest.LogCaptureFixture,
    tensorflow: Any,
    save_model: Any,
) -> None:
    """Loading a bfloat16 SavedModel on a processor without fast bfloat16 logs a warning that says what to do."""
    del tensorflow
    path = write_graphs(bundles, "bfloat16")
    save_model(path)
    processor("amx_bf16")
    assert load(path, "saved_model").description == "runtime saved_model precision bfloat16 threads 1"
    assert not caplog.messages
    processor(None)
    load(path, "saved_model")
    assert "is a bfloat16 SavedModel, which is slow on this processor" in caplog.text
    assert "Use --runtime onnx" in caplog.text


@pytest.mark.slow
def test_int8_saved_model_needs_the_processor(
    bundles: TinyBundles, processor: Callable[[str | None], None], tensorflow: Any, save_model: Any
) -> None:
    """An int8 SavedModel is not loaded on a processor whose sums overflow; the message says what to do."""
    del tensorflow
    path = write_graphs(bundles, "int8")
    save_model(path)
    processor("avx512_vnni")
    assert load(path, "saved_model").description == "runtime saved_model precision int8 threads 1"
    processor(None)
    with pytest.raises(ServeError, match=r"whose sums overflow on this processor: .*Use --runtime onnx"):
        load(path, "saved_model")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "flag", "threads", "concurrency"),
    [("int8", "amx_int8", 1, 4), ("int8", "avx512_vnni", 4, 2), ("bfloat16", "amx_bf16", 4, 2)],
)
def test_threads_of_a_computation(
    bundles: TinyBundles,
    processor: Callable[[str | None], None],
    monkeypatch: pytest.MonkeyPatch,
    save_model: Any,
    tensorflow: Any,
    precision: str,
    flag: str,
    threads: int,
    concurrency: int,
) -> None:
    """By default a computation uses all cores, and one core for an int8 SavedModel on a processor with AMX."""
    del tensorflow
    monkeypatch.setattr("bertbundle_serving.runtimes.saved_model.available_cores", lambda: 4)
    path = write_graphs(bundles, precision)
    save_model(path)
    processor(flag)
    servable = loader("saved_model", RuntimeOptions())(path)
    assert (servable.threads, servable.concurrency) == (threads, concurrency)
    assert f"threads {threads}" in servable.description


@pytest.mark.slow
def test_saved_model_of_any_kind(tmp_path: Path, tensorflow: Any) -> None:
    """A SavedModel that is not a bundle may have strings and unknown ranks, and accepts 0 rows."""
    tf = tensorflow
    join = tf.function(lambda text: {"joined": tf.strings.reduce_join(text, axis=-1)})
    text = tf.TensorSpec(None, tf.string, name="text")
    tf.saved_model.save(tf.Module(), str(tmp_path / "1"), signatures={"join": join.get_concrete_function(text)})
    servable = load(tmp_path / "1", "saved_model")
    assert servable.signatures["join"].inputs["text"].shape is None
    for value, expected in (([b"a", b"b"], b"ab"), ([[b"a"], [b"b"]], [b"a", b"b"]), ([], b"")):
        joined = servable.run("join", {"text": np.array(value, object)}, ["joined"])["joined"]
        assert joined.tolist() == expected


def test_saved_model_without_tensorflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If TensorFlow is not installed, loading a SavedModel raises an error that says what to install."""
    (tmp_path / "saved_model.pb").touch()
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ServeError, match=r"pip install 'bertbundle-toolkit\[export\]'"):
        load(tmp_path, "saved_model")


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch, tensorflow: Any) -> Iterator[list[Any]]:
    """Return the configurations of the sessions that are started; TensorFlow seems to have a GPU."""
    configs: list[Any] = []
    real = tensorflow.compat.v1.Session

    def session(config: Any, **options: Any) -> Any:
        configs.append(config)
        return real(config=config, **options)

    monkeypatch.setattr(tensorflow.compat.v1, "Session", session)
    monkeypatch.setattr(tensorflow.config, "list_physical_devices", lambda _: ["GPU:0"])
    yield configs
    tensorflow.config.experimental.enable_tensor_float_32_execution(True)  # the default


@pytest.mark.slow
def test_device(bundles: TinyBundles, sessions: list[Any], tensorflow: Any, save_model: Any) -> None:
    """On a GPU, a session takes memory as it needs it and computes in full float32; on the CPU, it sees no GPU."""
    path = write_graphs(bundles)
    save_model(path)
    for device in ("auto", "cuda"):
        servable = loader("saved_model", RuntimeOptions(threads=1, device=device))(path)
        assert servable.description == "runtime saved_model device cuda precision float32 threads 1"
        assert sessions[-1].gpu_options.allow_growth
        assert "GPU" not in sessions[-1].device_count
        assert not tensorflow.config.experimental.tensor_float_32_execution_enabled()
    servable = loader("saved_model", RuntimeOptions(threads=1, device="cpu"))(path)
    assert servable.description == "runtime saved_model precision float32 threads 1"
    assert dict(sessions[-1].device_count) == {"GPU": 0}


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_operations_of_onednn_are_for_cpus(
    bundles: TinyBundles,
    processor: Callable[[str | None], None],
    sessions: list[Any],
    save_model: Any,
    precision: str,
) -> None:
    """A SavedModel in bfloat16 or int8 is refused with cuda; auto hides the GPU from it."""
    processor("amx")
    path = write_graphs(bundles, precision)
    save_model(path)
    with pytest.raises(
        ServeError, match=rf"is a SavedModel in {precision}, whose operations compute on CPUs only, but"
    ):
        loader("saved_model", RuntimeOptions(device="cuda"))(path)
    assert not sessions
    assert "device" not in loader("saved_model", RuntimeOptions())(path).description
    assert dict(sessions[-1].device_count) == {"GPU": 0}


@pytest.mark.slow
def test_no_gpu(monkeypatch: pytest.MonkeyPatch, tensorflow: Any) -> None:
    """Without a GPU, cuda is refused before a model is loaded; the message says what to install."""
    monkeypatch.setattr(tensorflow.config, "list_physical_devices", lambda _: [])
    with pytest.raises(ServeError, match=r"^--device cuda is not possible: TensorFlow sees no GPU\. .*and-cuda\]'\.$"):
        loader("saved_model", RuntimeOptions(device="cuda"))


@pytest.mark.slow
def test_real_gpu(bundles: TinyBundles, tensorflow: Any, save_model: Any) -> None:
    """On a GPU, outputs equal those of the CPU."""
    if not tensorflow.config.list_physical_devices("GPU"):
        skip_without("a GPU of TensorFlow")
    path = write_graphs(bundles)
    save_model(path)
    on_cpu, on_gpu = (
        loader("saved_model", RuntimeOptions(device=device))(path).run("serving_default", features(), ["logits"])
        for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(on_cpu["logits"], on_gpu["logits"], rtol=1e-5)


_WITHOUT_KERAS = """
import sys
from bertbundle_serving.runtimes.saved_model import _import_tensorflow

tensorflow = _import_tensorflow()
assert not [name for name in sys.modules if name.startswith(("keras", "tf_keras"))]
assert tensorflow.keras.layers.Dense(2)(tensorflow.ones([1, 3])).shape == (1, 2)
from tensorflow.keras import layers
"""


@pytest.mark.slow
@pytest.mark.parametrize("legacy", ["0", "1"])
def test_tensorflow_without_keras(legacy: str) -> None:
    """The server imports TensorFlow without either Keras, which can be imported later in the process."""
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": legacy, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", _WITHOUT_KERAS], env=environment, check=True, timeout=300)
