"""Give memory back to the system."""

from __future__ import annotations

import ctypes

__all__ = ["free_memory"]


def free_memory() -> None:
    """Make the C library return what is free: glibc keeps it for itself otherwise. Holds nobody up: no lock is held."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone
    if trim is not None:
        trim(0)
