"""Combining marks at the end of a span: accents, variation selectors, skin tones."""

from __future__ import annotations

import unicodedata

__all__ = ["after_marks"]


def after_marks(text: str, end: int) -> int:
    """Return the end of a span with the marks upon its last character: accents, variation selectors, skin tones.

    A tokenizer that strips accents leaves them out of its offsets.

    >>> after_marks("Rene\u0301 is", 4)
    5
    """
    while end < len(text) and (unicodedata.category(text[end])[0] == "M" or text[end] in _SKIN_TONES):
        end += 1
    return end


_SKIN_TONES = "\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"  # Unicode TR 51, emoji modifiers
