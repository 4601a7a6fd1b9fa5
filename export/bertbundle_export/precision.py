"""The precision of the encoder's matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bertbundle._shared.cpu_features import BFLOAT16_FLAGS, INT8_FLAGS, fast_bfloat16, fast_int8
from bertbundle_export.encoder.kernels import has_int8
from bertbundle_export.errors import ExportError

__all__ = ["INT8_TENSORFLOW", "PRECISIONS", "check_int8", "choose_precision"]

PRECISIONS = ("float32", "bfloat16", "float16", "int8", "auto")

INT8_TENSORFLOW = "2.17"
"""The first TensorFlow that has the operation of int8 products: 2.16.2 refuses to load a graph with it."""

_CPUINFO = Path("/proc/cpuinfo")


def choose_precision(requested: str, cpuinfo: Path = _CPUINFO) -> tuple[str, str]:
    """Return the precision to export in, and a note for the user; "auto" depends on this machine's CPU.

    Args:
        requested: one of `PRECISIONS`.
        cpuinfo: file in which Linux describes the CPU; if it does not exist, the CPU is assumed to lack bfloat16.

    Returns:
        "float32", "bfloat16", "float16" or "int8", and a note, empty if there is nothing to say.

    Raises:
        ExportError: `requested` is not one of `PRECISIONS`.
    """
    if requested not in PRECISIONS:
        raise ExportError(f"precision must be one of {', '.join(PRECISIONS)}, got {requested!r}.")
    if requested != "auto":
        return requested, ""
    flag = fast_bfloat16(cpuinfo)
    if flag:
        return "bfloat16", f"precision auto: bfloat16, because this processor has {flag}."
    return "float32", f"precision auto: float32, because this processor has none of {', '.join(BFLOAT16_FLAGS)}."


MIN_CALIBRATION_TEXTS = 8
"""On fewer texts, most of the ranges that are measured for int8 would be those of single tokens."""


def check_int8(formats: Sequence[str], texts: Sequence[str], cpuinfo: Path = _CPUINFO) -> None:
    """Check that int8 can be calibrated on the texts, and that this machine can compute an int8 SavedModel.

    Args:
        formats: the formats of the bundle.
        texts: the texts that the ranges of the products' inputs are measured on.
        cpuinfo: as for `choose_precision`.

    Raises:
        ExportError: there are too few texts, or this processor or TensorFlow has no exact int8 products.
    """
    if len(set(texts)) < MIN_CALIBRATION_TEXTS:
        raise ExportError(
            f"precision int8 is calibrated on the texts, of which there are {len(set(texts))} different ones. Give at "
            f"least {MIN_CALIBRATION_TEXTS} with --texts, or leave it out."
        )
    if "saved_model" not in formats:
        return
    problem = "" if has_int8() else "this TensorFlow has no oneDNN products in int8"
    if fast_int8(cpuinfo) is None:
        problem = f"its sums overflow on this processor, which has none of {', '.join(INT8_FLAGS)}"
    if problem:
        raise ExportError(
            f"an int8 SavedModel is not possible here: {problem}. Export on another machine, or with --formats onnx."
        )
