"""Which precision a processor gets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bertbundle._shared.cpu_features import fast_int8
from bertbundle_export import ExportOptions
from bertbundle_export.errors import ExportError
from bertbundle_export.onnx_files.int8 import quantize
from bertbundle_export.precision import choose_precision


@pytest.mark.parametrize(
    ("flags", "expected", "note"),
    [
        pytest.param("fpu avx512_bf16 amx_bf16 amx_tile", "bfloat16", "has amx_bf16", id="amx"),
        pytest.param("fpu avx512f avx512_bf16", "bfloat16", "has avx512_bf16", id="avx512"),
        pytest.param("fpu avx2", "float32", "has none of amx_bf16, avx512_bf16", id="neither"),
        pytest.param(None, "float32", "has none of", id="unknown"),
    ],
)
def test_auto_takes_what_the_processor_favours(tmp_path: Path, flags: str | None, expected: str, note: str) -> None:
    """`auto` is bfloat16 where the processor multiplies it in hardware, and says which and why."""
    cpuinfo = tmp_path / "cpuinfo"
    if flags is not None:
        cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t:\n", encoding="ascii")
    precision, said = choose_precision("auto", cpuinfo)
    assert precision == expected
    assert note in said


def test_what_is_asked_for_is_taken() -> None:
    """A precision by name is taken without a word; one that is none is refused with the choices."""
    assert choose_precision("bfloat16") == ("bfloat16", "")
    with pytest.raises(ExportError, match="must be one of float32, bfloat16, int8, auto, got 'fp16'"):
        choose_precision("fp16")


def test_int8_is_of_the_onnx_files() -> None:
    """int8 without the files that would be int8 is refused before any work."""
    with pytest.raises(ExportError, match=r"precision int8 is of the ONNX files.*Add onnx to --formats"):
        ExportOptions(precision="int8", formats=("saved_model",))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        pytest.param("fpu avx512_vnni amx_int8", "amx_int8", id="amx"),
        pytest.param("fpu avx2 avx_vnni", "avx_vnni", id="vnni"),
        pytest.param("fpu avx2 avx512f", None, id="neither"),
    ],
)
def test_processors_that_multiply_int8(tmp_path: Path, flags: str, expected: str | None) -> None:
    """int8 is fast, and free of overflows, on processors with VNNI or AMX."""
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"flags\t\t: {flags}\n", encoding="ascii")
    assert fast_int8(cpuinfo) == expected


def test_int8_kernels_keep_the_product() -> None:
    """A product of divided channels and their int8 kernel is the product, to a step of each column and range."""
    random = np.random.default_rng(0)
    kernel = random.normal(size=(64, 8)).astype(np.float32)
    channels = random.normal(size=(200, 64)).astype(np.float32)
    channels[:, 3] *= 40  # as some of a trained BERT's are
    seen = {"kernel": (channels.min(axis=0), channels.max(axis=0))}
    weights, ranges = quantize({"kernel": kernel, "bias": kernel[0]}, seen)
    assert {name: value.dtype.name for name, value in weights.items()} == {
        "bias": "float32",
        "kernel": "int8",
        "kernel_scale": "float32",
        "kernel_factors": "float32",
    }
    factors = weights["kernel_factors"]
    # None is made larger, half of them stay as they are, and the large one gets nearer to the others.
    assert factors.max() == 1
    assert (factors == 1).sum() >= 32
    assert factors[3] < 0.3
    low, high = ranges["kernel"]
    step = (high - low) / 255
    rounded = np.clip(np.rint(channels * factors / step), np.rint(low / step), np.rint(high / step)) * step
    restored = rounded @ (weights["kernel"] * weights["kernel_scale"])
    error = np.abs(restored - channels @ kernel).max() / np.abs(channels @ kernel).max()
    assert error < 0.01
