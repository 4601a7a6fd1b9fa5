"""Return free memory to the operating system."""

from __future__ import annotations

import ctypes

__all__ = ["free_memory"]


def free_memory() -> None:
    """Make the C library return free memory to the system: glibc otherwise keeps it. Do not hold a lock meanwhile."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim is not None:
        trim(0)
