"""GPUs in onnxruntime. Without one, an onnxruntime that seems to have one takes its place."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from bertbundle_serving.errors import ServeError
from bertbundle_serving.runtimes import RuntimeOptions, cuda, loader
from fake_cuda import FakeCuda, has_gpu
from optional import needs_openvino, skip_without
from runtime_files import write_graphs
from tiny_bundles import TinyBundles, features

CPU_ONLY = "CPUExecutionProvider"


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """Forget whether there is a GPU, before and after each test."""
    cuda.onnxruntime_cuda_problem.cache_clear()
    yield
    cuda.onnxruntime_cuda_problem.cache_clear()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    """Make onnxruntime seem to have a GPU."""
    return FakeCuda(monkeypatch)


@pytest.fixture
def cpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make onnxruntime have the provider for CPUs only, as the package onnxruntime has."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU_ONLY])


def test_identity() -> None:
    """The graph of the probe is a valid model that returns its input."""
    onnx.checker.check_model(onnx.load_from_string(cuda._IDENTITY), full_check=True)
    session = onnxruntime.InferenceSession(cuda._IDENTITY, providers=[CPU_ONLY])
    assert session.run(None, {"x": np.array([2.5], np.float32)})[0].tolist() == [2.5]


@pytest.mark.usefixtures("cpu_only")
def test_package_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without onnxruntime-gpu, the message says how to install it; beside onnxruntime, that one replaced the other."""

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(cuda, "version", missing)
    expected = r"computes on CPUs only\. Replace it: pip uninstall onnxruntime, then .*toolkit\[gpu\]' instead of"
    with pytest.raises(ServeError, match=rf"^--device cuda is not possible: the installed onnxruntime {expected}"):
        loader("onnx", RuntimeOptions(device="cuda"))
    cuda.onnxruntime_cuda_problem.cache_clear()
    monkeypatch.setattr(cuda, "version", lambda _: "1.31.1")
    assert "the files of the package onnxruntime replaced its own" in cuda.onnxruntime_cuda_problem()


@needs_openvino
def test_openvino_computes_on_cpus() -> None:
    """OpenVINO is refused with cuda, whether named or chosen for its precision; the message names the others."""
    expected = r"--device is cuda, but openvino computes on CPUs only\. Choose --runtime onnx or saved_model"
    for name, precision in (("openvino", "bundle"), ("auto", "bfloat16")):
        with pytest.raises(ServeError, match=expected):
            loader(name, RuntimeOptions(device="cuda", precision=precision))


def test_silent_fallback_is_found(
    fake: FakeCuda, bundles: TinyBundles, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """If a session of onnxruntime-gpu is on the CPU only, cuda is refused with the missing library; auto warns."""
    fake.falls_back, fake.prints = True, "Failed to load libcublasLt.so.13: no such file\nPlease follow https://x."
    expected = r"cannot use a GPU: Failed to load libcublasLt\.so\.13: no such file\. Check that nvidia-smi lists"
    with pytest.raises(ServeError, match=expected):
        loader("onnx", RuntimeOptions(device="cuda"))
    servable = loader("onnx", RuntimeOptions(threads=1))(write_graphs(bundles))
    assert servable.description == "runtime onnx precision float32 threads 1"
    assert fake.requests[-1]["providers"] == [CPU_ONLY]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "computing on the CPU: onnxruntime cannot use a GPU" in caplog.text
    assert not capsys.readouterr().out


def test_no_driver(fake: FakeCuda) -> None:
    """If all libraries were found and the session is on the CPU only, the driver is named; pip does not help."""
    fake.falls_back = True
    problem = cuda.onnxruntime_cuda_problem()
    assert problem.endswith("CUDA does not load, as without NVIDIA's driver. Check that nvidia-smi lists one")


def test_no_device(fake: FakeCuda) -> None:
    """The error of a provider whose libraries load but find no GPU is the reason."""
    fake.error = RuntimeError("CUDA failure 100: no CUDA-capable device is detected ; GPU=-1\nfile=cuda_call.cc")
    assert "cannot use a GPU: CUDA failure 100: no CUDA-capable device is detected" in cuda.onnxruntime_cuda_problem()
    assert "file=" not in cuda.onnxruntime_cuda_problem()


@pytest.mark.parametrize("name", ["auto", "onnx"])
@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_usable_gpu(fake: FakeCuda, bundles: TinyBundles, name: str, device: str) -> None:
    """With a GPU, onnxruntime loads on it, even before OpenVINO; in full float32, and with no fallback to the CPU."""
    servable = loader(name, RuntimeOptions(threads=1, device=device))(write_graphs(bundles))
    assert servable.description.startswith("runtime onnx device cuda precision float32 threads 1")
    assert servable.concurrency == 2
    (provider, options), last = fake.requests[-1]["providers"]
    assert (provider, last, fake.requests[-1]["enable_fallback"]) == ("CUDAExecutionProvider", CPU_ONLY, 0)
    assert {"use_tf32": "0", "enable_skip_layer_norm_strict_mode": "1"}.items() <= options.items()


def test_cpu_is_followed(fake: FakeCuda, bundles: TinyBundles) -> None:
    """With --device cpu, a GPU is not even looked for."""
    servable = loader("onnx", RuntimeOptions(threads=1, device="cpu"))(write_graphs(bundles))
    assert servable.description == "runtime onnx precision float32 threads 1"
    assert [request["providers"] for request in fake.requests] == [[CPU_ONLY]]


def test_model_that_does_not_load_on_the_gpu(fake: FakeCuda, bundles: TinyBundles) -> None:
    """A model whose own session is on the CPU only, after the probe was not, does not load."""
    load = loader("onnx", RuntimeOptions(device="cuda"))
    fake.falls_back = True
    with pytest.raises(ServeError, match=r"loads .* on the CPU only\. Check the memory of the GPU"):
        load(write_graphs(bundles))


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_precision_on_a_gpu(bundles: TinyBundles, caplog: pytest.LogCaptureFixture, precision: str) -> None:
    """On a GPU, files are computed in their precision."""
    path = write_graphs(bundles, precision)
    description = loader("auto", RuntimeOptions(threads=1))(path).description
    assert description.startswith(f"runtime onnx device cuda precision {precision} threads 1 (auto: ")
    assert not caplog.messages


@pytest.mark.usefixtures("fake")
def test_int8_is_for_cpus(bundles: TinyBundles) -> None:
    """int8 ONNX files are refused with cuda; auto computes them on the CPU."""
    path = write_graphs(bundles, "int8")
    with pytest.raises(ServeError, match=r"are int8, whose operators compute on CPUs only, .*--precision float16"):
        loader("onnx", RuntimeOptions(device="cuda"))(path)
    assert "device" not in loader("onnx", RuntimeOptions())(path).description
    assert "device" not in loader("auto", RuntimeOptions())(path).description


def test_real_gpu(bundles: TinyBundles) -> None:
    """On a GPU, outputs equal those of the CPU."""
    if not has_gpu():
        skip_without("an NVIDIA GPU")
    path: Path = write_graphs(bundles)
    outputs = [
        loader("onnx", RuntimeOptions(device=device))(path).run("serving_default", features(), ["logits", "label_ids"])
        for device in ("cpu", "cuda")
    ]
    for name in outputs[0]:
        np.testing.assert_allclose(outputs[0][name], outputs[1][name], rtol=1e-5)
