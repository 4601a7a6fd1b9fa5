"""Combining marks after a character: accents, variation selectors, skin tones."""

from __future__ import annotations

import unicodedata

__all__ = ["end_with_combining_marks"]

_SKIN_TONES = "\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"  # Unicode TR 51, emoji modifiers


def end_with_combining_marks(text: str, end: int) -> int:
    """Return the end of a span, extended by the combining marks that follow its last character.

    A tokenizer that strips accents does not include them in its offsets.

    >>> end_with_combining_marks("Rene\u0301 is", 4)
    5
    """
    while end < len(text) and (unicodedata.category(text[end])[0] == "M" or text[end] in _SKIN_TONES):
        end += 1
    return end
