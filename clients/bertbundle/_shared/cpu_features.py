"""What the processor multiplies fast."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

__all__ = ["BFLOAT16_FLAGS", "EXACT_INT8", "INT8_FLAGS", "fast_bfloat16", "fast_int8"]

BFLOAT16_FLAGS = ("amx_bf16", "avx512_bf16")
"""Flags of processors that multiply bfloat16 matrices in hardware, by their names in /proc/cpuinfo; the best first."""

INT8_FLAGS = ("amx_int8", "avx512_vnni", "avx_vnni")
"""Flags of processors that multiply int8 matrices in hardware; on others sums of two products may overflow."""

EXACT_INT8 = ("session.x64quantprecision", "1")
"""A setting of onnxruntime: slower int8 products on processors without `INT8_FLAGS`, whose fast ones overflow
(onnxruntime_session_options_config_keys.h, ``kOrtSessionOptionsAvx2PrecisionMode``)."""

_CPUINFO = Path("/proc/cpuinfo")


def fast_bfloat16(cpuinfo: Path = _CPUINFO) -> str | None:
    """Return the flag by which this processor multiplies bfloat16 matrices in hardware; None if it does not.

    Args:
        cpuinfo: where Linux describes the processor; where there is none, it is taken for one without.
    """
    return _first(BFLOAT16_FLAGS, cpuinfo)


def fast_int8(cpuinfo: Path = _CPUINFO) -> str | None:
    """Return the flag by which this processor multiplies int8 matrices in hardware; None if it does not."""
    return _first(INT8_FLAGS, cpuinfo)


def _first(wanted: Sequence[str], cpuinfo: Path) -> str | None:
    if not cpuinfo.is_file():
        return None
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(encoding="ascii", errors="replace"), re.MULTILINE)
    found = set(flags[1].split()) if flags else set()
    return next((flag for flag in wanted if flag in found), None)
