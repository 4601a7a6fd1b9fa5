"""The precision of the encoder's matrix products."""

from __future__ import annotations

from pathlib import Path

from bertbundle._shared.cpu_features import BFLOAT16_FLAGS, fast_bfloat16
from bertbundle_export.errors import ExportError

__all__ = ["PRECISIONS", "choose_precision"]

PRECISIONS = ("float32", "bfloat16", "int8", "auto")

_CPUINFO = Path("/proc/cpuinfo")


def choose_precision(requested: str, cpuinfo: Path = _CPUINFO) -> tuple[str, str]:
    """Return the precision to export in, and a note for the user; "auto" depends on this machine's CPU.

    Args:
        requested: one of `PRECISIONS`.
        cpuinfo: file in which Linux describes the CPU; if it does not exist, the CPU is assumed to lack bfloat16.

    Returns:
        "float32", "bfloat16" or "int8", and a note, empty if there is nothing to say.

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
