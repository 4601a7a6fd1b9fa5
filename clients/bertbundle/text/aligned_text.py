"""A text that was made of another one by normalization, with the origin of each of its characters."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

__all__ = ["AlignedText", "Form", "aligned", "map_characters", "normalize"]

Form: TypeAlias = Literal["NFC", "NFD", "NFKC", "NFKD"]

_CONTEXT = 2  # characters in front of one that may compose with it: Hangul's L and V, two-part vowels


@dataclass(frozen=True, slots=True)
class AlignedText:
    """A text with the origin of its characters.

    Attributes:
        text: the text.
        starts, ends: for each character, the offsets of the characters of the original text that it was made of.
    """

    text: str
    starts: Sequence[int]
    ends: Sequence[int]

    def __getitem__(self, part: slice) -> AlignedText:
        """Return a part of the text."""
        return AlignedText(self.text[part], self.starts[part], self.ends[part])

    def replaced(self, text: str) -> AlignedText:
        """Return another text, each character of which was made of this whole text."""
        return AlignedText(text, [self.starts[0]] * len(text), [self.ends[-1]] * len(text))

    def strip(self) -> AlignedText:
        """Return the text without white space at its ends, as `str.strip`."""
        start = len(self.text) - len(self.text.lstrip())
        return self[start : start + len(self.text.strip())]


def aligned(text: str, start: int = 0) -> AlignedText:
    """Return an original text, or a part of one that begins at an offset.

    >>> normalize(aligned("ｶﾞ㍻"), "NFKC")
    AlignedText(text='ガ平成', starts=[0, 2, 2], ends=[2, 3, 3])
    """
    return AlignedText(text, range(start, start + len(text)), range(start + 1, start + len(text) + 1))


def map_characters(source: AlignedText, change: Callable[[str], str]) -> AlignedText:
    """Replace each character by a text, which may be empty."""
    return _join(source, ((change(char), index, index + 1) for index, char in enumerate(source.text)))


def normalize(source: AlignedText, form: Form) -> AlignedText:
    """Normalize a text as `unicodedata.normalize` does.

    A character may be made of several: "ガ" of half-width "ｶﾞ", which the normalizers of the tokenizers library align
    with "ｶ" only.
    """
    if unicodedata.is_normalized(form, source.text):
        return source
    return _join(source, _normalized_parts(source.text, form))


def _join(source: AlignedText, parts: Iterator[tuple[str, int, int]]) -> AlignedText:
    """Join texts, each of which was made of the characters of `source` in the range that follows it."""
    texts, starts, ends = [], [], []
    for text, first, last in parts:
        texts.append(text)
        starts += [source.starts[first]] * len(text)
        ends += [source.ends[last - 1]] * len(text)
    return AlignedText("".join(texts), starts, ends)


def _normalized_parts(text: str, form: Form) -> Iterator[tuple[str, int, int]]:
    for start, end in itertools.pairwise([*_edges(text, form), len(text)]):
        part = text[start:end]
        normalized = unicodedata.normalize(form, part)
        if normalized == part:
            yield from ((char, start + index, start + index + 1) for index, char in enumerate(part))
        else:
            yield normalized, start, end


def _edges(text: str, form: Form) -> Iterator[int]:
    """Yield where parts of a text begin that can be normalized one by one."""
    decomposition: Form = "NFKD" if form in ("NFKC", "NFKD") else "NFD"
    start = 0
    for index, char in enumerate(text):
        if index and _continues(text[max(start, index - _CONTEXT) : index], char, form, decomposition):
            continue
        start = index
        yield index


@lru_cache(maxsize=4096)
def _continues(before: str, char: str, form: Form, decomposition: Form) -> bool:
    """Return whether a character combines with those in front of it: as a mark, or to a composed character."""
    if unicodedata.combining(unicodedata.normalize(decomposition, char)[0]):
        return True
    normalized = unicodedata.normalize(form, before + char)
    return normalized != unicodedata.normalize(form, before) + unicodedata.normalize(form, char)
