"""The words of BERT's original tokenizer: separated by white space, and by punctuation."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator

from bertbundle.text.aligned_text import AlignedText, map_characters, normalize

__all__ = ["basic_words", "lower"]

_WORD = re.compile(r"\S+")


def basic_words(source: AlignedText, *, lowercase: bool, never_split: Collection[str] = ()) -> Iterator[AlignedText]:
    """Yield the words of a text as transformers' BasicTokenizer makes them, which leaves Chinese characters together.

    Args:
        source: the text.
        lowercase: whether words are lower-cased and lose their accents.
        never_split: words between white space that stay as they are.
    """
    cleaned = normalize(map_characters(source, _clean), "NFC")
    for found in _WORD.finditer(cleaned.text):
        word = cleaned[found.start() : found.end()]
        if lowercase and word.text not in never_split:
            word = _without_accents(lower(word))
        yield from [word] if word.text in never_split else _split_at_punctuation(word)


def lower(source: AlignedText) -> AlignedText:
    """Lower-case a text as `str.lower` does."""
    mapped = map_characters(source, str.lower)
    return AlignedText(source.text.lower(), mapped.starts, mapped.ends)  # its sigma may be final


def _without_accents(word: AlignedText) -> AlignedText:
    return map_characters(normalize(word, "NFD"), lambda char: "" if unicodedata.category(char) == "Mn" else char)


def _split_at_punctuation(word: AlignedText) -> Iterator[AlignedText]:
    start = 0
    for index, char in enumerate(word.text):
        if _is_punctuation(char):
            if start < index:
                yield word[start:index]
            yield word[index : index + 1]
            start = index + 1
    if start < len(word.text):
        yield word[start:]


def _clean(char: str) -> str:
    """Return a space for white space, and nothing for control characters."""
    if char in " \t\n\r":
        return " "
    category = unicodedata.category(char)
    if category == "Zs":
        return " "
    return "" if char == "\ufffd" or category.startswith("C") else char


def _is_punctuation(char: str) -> bool:
    """Return whether BERT separates a character: Unicode's punctuation, and all ASCII but letters and digits."""
    return unicodedata.category(char).startswith("P") or (char.isascii() and char.isprintable() and not char.isalnum())
