"""The precision of an encoder's matrix products."""

from __future__ import annotations

from pathlib import Path

from bertbundle._shared.cpu_features import BFLOAT16_FLAGS, fast_bfloat16
from bertbundle_export.errors import ExportError

__all__ = ["PRECISIONS", "choose_precision"]

PRECISIONS = ("float32", "bfloat16", "int8", "auto")

_CPUINFO = Path("/proc/cpuinfo")


def choose_precision(asked: str, cpuinfo: Path = _CPUINFO) -> tuple[str, str]:
    """Return a precision, and what to say of it: "auto" becomes what this processor favours.

    Args:
        asked: one of `PRECISIONS`.
        cpuinfo: where Linux describes the processor; where there is none, it is taken for one without bfloat16.

    Returns:
        "float32", "bfloat16" or "int8", and a note; empty if there is nothing to say.

    Raises:
        ExportError: another precision was asked for.
    """
    if asked not in PRECISIONS:
        raise ExportError(f"precision must be one of {', '.join(PRECISIONS)}, got {asked!r}.")
    if asked != "auto":
        return asked, ""
    flag = fast_bfloat16(cpuinfo)
    if flag:
        return "bfloat16", f"precision auto: bfloat16, because this processor has {flag}."
    return "float32", f"precision auto: float32, because this processor has none of {', '.join(BFLOAT16_FLAGS)}."
