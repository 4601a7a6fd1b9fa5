"""Normalized texts with the origin of each character."""

from __future__ import annotations

import unicodedata
from typing import get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bertbundle.text.aligned_text import AlignedText, Form, aligned, map_characters, normalize
from japanese_texts import FRAGMENTS, normalized_origins

# Characters that compose with those in front of them or are reordered: jamo, two-part vowels, marks of several classes.
COMPOSING = (
    "\u1100", "\u1161", "\u11a8", "가", "\u0cc6", "\u0cc2", "\u0cd5", "\u0dd9", "\u0dcf", "\u0dca", "\u09c7\u09be",
    "\u0344", "\u0301", "\u0327", "\u3099", "\u309a", "ﾞ", "ﾟ", "か", "ｶ", "は", "\u0f71\u0f72", "\u0f73",
    "\U00011131\U00011127", "¨", "㋿", "ﷺ", "\u212b", "a", " ",
)  # fmt: skip
TEXTS = st.lists(st.sampled_from([*COMPOSING, *FRAGMENTS]) | st.characters(exclude_categories=["Cs"]), max_size=8).map(
    "".join
)


def spans(text: AlignedText) -> list[tuple[int, int]]:
    """Return the origin of each character."""
    return list(zip(text.starts, text.ends, strict=True))


@pytest.mark.parametrize("form", get_args(Form))
@example(text="ｶﾞ㍻か\u3099")
@settings(max_examples=500)
@given(text=TEXTS)
def test_any_text_is_normalized(form: Form, text: str) -> None:
    """A text is normalized as Python does, and each character comes from the smallest part that normalizes alone."""
    found = normalize(aligned(text), form)
    assert found.text == unicodedata.normalize(form, text)
    assert spans(found) == normalized_origins(text, form)


def test_a_composed_character_comes_from_all_of_its_parts() -> None:
    """Half-width "ｶﾞ" is one character of two, "㍻" two characters of one."""
    found = normalize(aligned("ｶﾞ㍻x"), "NFKC")
    assert (found.text, spans(found)) == ("ガ平成x", [(0, 2), (2, 3), (2, 3), (3, 4)])


def test_steps_follow_each_other() -> None:
    """Offsets are those of the first text after several steps: a part, a change of length, a normalization."""
    found = map_characters(aligned("xİｶﾞ\n", 10)[1:4], str.lower)
    assert (found.text, spans(found)) == ("i\u0307ｶﾞ", [(11, 12), (11, 12), (12, 13), (13, 14)])
    assert spans(normalize(found, "NFKC")) == [(11, 12), (11, 12), (12, 14)]
    removed = map_characters(aligned("a\nb"), lambda char: char.strip())
    assert (removed.text, spans(removed)) == ("ab", [(0, 1), (2, 3)])


def test_replaced_and_stripped() -> None:
    """Another text comes from the whole one; stripping keeps the offsets of what is left."""
    word = aligned(" 行っ ", 3).strip()
    assert (word.text, spans(word)) == ("行っ", [(4, 5), (5, 6)])
    assert spans(word.replaced("イッた")) == [(4, 6)] * 3
    assert aligned("  ").strip().text == ""


def test_many_marks_take_linear_time() -> None:
    """A text of many combining marks is one part, and is not compared with itself again and again."""
    text = "か" + "\u3099" * 50_000
    found = normalize(aligned(text), "NFKC")
    assert (found.text[:1], len(found.text), spans(found)[0]) == ("が", 50_000, (0, 50_001))
