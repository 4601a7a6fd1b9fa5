"""Convert character offsets between the units of programming languages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["to_utf8", "to_utf16"]


def to_utf16(text: str, offsets: Sequence[int]) -> list[int]:
    """Convert offsets in Unicode code points (Python) to UTF-16 code units (Java, JavaScript, C#).

    >>> to_utf16("😀 Wang", [0, 2, 6])
    [0, 3, 7]
    """
    return _convert(text, offsets, (0x10000,))


def to_utf8(text: str, offsets: Sequence[int]) -> list[int]:
    """Convert offsets in Unicode code points to bytes of UTF-8 (Go, Rust, C++).

    >>> to_utf8("😀 Wang", [0, 2, 6])
    [0, 5, 9]
    """
    return _convert(text, offsets, (0x80, 0x800, 0x10000))


def _convert(text: str, offsets: Sequence[int], limits: tuple[int, ...]) -> list[int]:
    """Count 1 for each code point before an offset, and 1 more for each of the limits that it reaches."""
    if text.isascii():
        return list(offsets)
    code_points: npt.NDArray[np.uint32] = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    widths = 1 + sum((code_points >= limit).astype(np.int64) for limit in limits)
    before = np.concatenate([[0], np.cumsum(widths)])
    return [int(before[offset]) for offset in offsets]
