"""What the processor multiplies fast."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["BFLOAT16_FLAGS", "fast_bfloat16"]

BFLOAT16_FLAGS = ("amx_bf16", "avx512_bf16")
"""Flags of processors that multiply bfloat16 matrices in hardware, by their names in /proc/cpuinfo; the best first."""

_CPUINFO = Path("/proc/cpuinfo")


def fast_bfloat16(cpuinfo: Path = _CPUINFO) -> str | None:
    """Return the flag by which this processor multiplies bfloat16 matrices in hardware; None if it does not.

    Args:
        cpuinfo: where Linux describes the processor; where there is none, it is taken for one without.
    """
    if not cpuinfo.is_file():
        return None
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(encoding="ascii", errors="replace"), re.MULTILINE)
    found = set(flags[1].split()) if flags else set()
    return next((flag for flag in BFLOAT16_FLAGS if flag in found), None)
