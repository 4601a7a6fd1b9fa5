"""Texts as HTML with marked spans."""

from __future__ import annotations

import html
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bertbundle.evaluation.reports.marks import escape, mark_spans

SPAN = st.tuples(st.sampled_from(("PER", "<b>")), st.integers(0, 8), st.integers(1, 4))
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=12, max_size=12)


def spans(*found: tuple[str, int, int]) -> list[dict[str, Any]]:
    """Return spans as dicts."""
    return [{"label": label, "start": start, "end": end} for label, start, end in found]


def test_right_wrong_and_missed_spans() -> None:
    """Each kind of span has its class, and its label with a sign; a span that is right is marked once."""
    marked = mark_spans("Wang in Berlin", spans(("PER", 0, 4), ("LOC", 8, 14)), spans(("PER", 0, 4), ("ORG", 5, 14)))
    assert re.findall(r'<mark class="([a-z ]+)">([^<]*)', marked) == [
        ("right", "Wang"),
        ("wrong", "in "),
        ("wrong missed", "Berlin"),
    ]
    assert re.findall(r'class="tag ([a-z]+)" title="[a-z]+">([^<]*)', marked) == [
        ("right", "PER"),
        ("wrong", "+ORG"),
        ("missed", "\u2212LOC"),
    ]


@given(TEXT, st.lists(SPAN, max_size=4), st.lists(SPAN, max_size=4))
def test_text_is_unchanged_and_escaped(
    text: str, expected: list[tuple[str, int, int]], found: list[tuple[str, int, int]]
) -> None:
    """Without tags and marks, any text with any spans is the text; nothing of it is markup."""
    sides = [spans(*((label, start, start + size) for label, start, size in side)) for side in (expected, found)]
    marked = mark_spans(text, *sides)
    without_tags = re.sub(r'<span class="tag [a-z]+" title="[a-z]+">[^<]*</span>', "", marked)
    assert html.unescape(re.sub(r'</mark>|<mark class="[a-z ]+">', "", without_tags)) == text


def test_control_characters_are_shown() -> None:
    """HTML does not allow control characters: their pictures are shown."""
    assert escape("a\x00b\x1b<\n") == "a\u2400b\u241b&lt;\n"
