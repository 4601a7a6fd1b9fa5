"""The choice of the precision, which may depend on the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertbundle._shared.cpu_features import fast_int8
from bertbundle_export.errors import ExportError
from bertbundle_export.precision import check_int8, choose_precision


@pytest.mark.parametrize(
    ("flags", "expected", "note"),
    [
        pytest.param("fpu avx512_bf16 amx_bf16 amx_tile", "bfloat16", "has amx_bf16", id="amx"),
        pytest.param("fpu avx512f avx512_bf16", "bfloat16", "has avx512_bf16", id="avx512"),
        pytest.param("fpu avx2", "float32", "has none of amx_bf16, avx512_bf16", id="neither"),
        pytest.param(None, "float32", "has none of", id="unknown"),
    ],
)
def test_auto_precision(tmp_path: Path, flags: str | None, expected: str, note: str) -> None:
    """`auto` is bfloat16 if the CPU supports it in hardware; the note names the CPU flag."""
    cpuinfo = tmp_path / "cpuinfo"
    if flags is not None:
        cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t:\n", encoding="ascii")
    precision, text = choose_precision("auto", cpuinfo)
    assert precision == expected
    assert note in text


def test_explicit_precision() -> None:
    """A valid precision is used without a note; the message about an invalid one lists the choices."""
    assert choose_precision("bfloat16") == ("bfloat16", "")
    assert choose_precision("float16") == ("float16", "")
    with pytest.raises(ExportError, match="must be one of float32, bfloat16, float16, int8, auto, got 'fp16'"):
        choose_precision("fp16")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        pytest.param("fpu avx512_vnni amx_int8", "amx_int8", id="amx"),
        pytest.param("fpu avx2 avx_vnni", "avx_vnni", id="vnni"),
        pytest.param("fpu avx2 avx512f", None, id="neither"),
    ],
)
def test_cpus_with_fast_int8(tmp_path: Path, flags: str, expected: str | None) -> None:
    """int8 is fast, and cannot overflow, on CPUs with VNNI or AMX."""
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"flags\t\t: {flags}\n", encoding="ascii")
    assert fast_int8(cpuinfo) == expected


TEXTS = [f"text {number}" for number in range(8)]


def test_int8_needs_texts() -> None:
    """int8 is refused with fewer than eight different texts; the message says what to do."""
    check_int8(["onnx"], TEXTS)
    with pytest.raises(ExportError, match=r"of which there are 1 different ones\. Give at least 8 with --texts"):
        check_int8(["onnx"], ["text"] * 9)


def test_int8_saved_model_needs_the_processor(tmp_path: Path, tensorflow: object) -> None:
    """An int8 SavedModel is refused on a processor whose sums overflow; the ONNX files alone are not."""
    del tensorflow
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("flags\t\t: fpu avx2 avx512f\n", encoding="ascii")
    check_int8(["onnx"], TEXTS, cpuinfo)
    with pytest.raises(ExportError, match=r"sums overflow on this processor, .*or with --formats onnx"):
        check_int8(["saved_model", "onnx"], TEXTS, cpuinfo)
