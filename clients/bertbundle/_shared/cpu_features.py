"""Detect fast bfloat16 and int8 support of the CPU."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

__all__ = ["BFLOAT16_FLAGS", "INT8_FLAGS", "fast_bfloat16", "fast_int8"]

BFLOAT16_FLAGS = ("amx_bf16", "avx512_bf16")
"""CPU flags in /proc/cpuinfo that mean hardware bfloat16 matrix multiplication, fastest first."""

INT8_FLAGS = ("amx_int8", "avx512_vnni", "avx_vnni")
"""CPU flags that mean hardware int8 matrix multiplication; without them the sum of two products may overflow."""

_CPUINFO = Path("/proc/cpuinfo")


def fast_bfloat16(cpuinfo: Path = _CPUINFO) -> str | None:
    """Return the CPU flag that provides hardware bfloat16 matrix multiplication, or None if there is none.

    Args:
        cpuinfo: the file in which Linux describes the CPU; if it does not exist, no support is assumed.
    """
    return _first_flag(BFLOAT16_FLAGS, cpuinfo)


def fast_int8(cpuinfo: Path = _CPUINFO) -> str | None:
    """Return the CPU flag that provides hardware int8 matrix multiplication, or None if there is none."""
    return _first_flag(INT8_FLAGS, cpuinfo)


def _first_flag(wanted: Sequence[str], cpuinfo: Path) -> str | None:
    if not cpuinfo.is_file():
        return None
    match = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(encoding="ascii", errors="replace"), re.MULTILINE)
    flags = set(match[1].split()) if match else set()
    return next((flag for flag in wanted if flag in flags), None)
