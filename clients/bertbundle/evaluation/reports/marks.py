"""Text as HTML, with spans marked in place."""

from __future__ import annotations

import html
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["escape", "mark_spans"]

_CONTROLS = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\t\n"} | {0x7F: "\u2421"}
"""Control characters, which HTML does not allow, by their pictures."""
_Key = tuple[str, int, int]


def escape(value: object) -> str:
    """Return a value as the text of an HTML element or attribute."""
    return html.escape(str(value).translate(_CONTROLS))


def mark_spans(text: str, expected: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]) -> str:
    """Return a text as HTML, with the spans that were found, expected, or both.

    Spans may overlap. A tag with the label stands at the end of each: + if it is wrong, - if it is missing.

    Args:
        text: the text.
        expected: the spans of the data: dicts with `label`, `start` and `end`.
        found: those of the model.

    >>> mark_spans("in Berlin", [], [{"label": "LOC", "start": 3, "end": 9}])
    'in <mark class="wrong">Berlin</mark><span class="tag wrong" title="wrong">+LOC</span>'
    """
    keys = [{_key(span) for span in spans} for spans in (expected, found)]
    kinds = {
        "right": keys[0] & keys[1],
        "wrong": keys[1] - keys[0],
        "missed": keys[0] - keys[1],
    }
    cuts = sorted({0, len(text), *(place for spans in kinds.values() for _, *ends in spans for place in ends)})
    return "".join(_piece(text, start, end, kinds) for start, end in itertools.pairwise(cuts))


def _key(span: Mapping[str, Any]) -> _Key:
    return span["label"], span["start"], span["end"]


def _piece(text: str, start: int, end: int, kinds: Mapping[str, set[_Key]]) -> str:
    inside = [kind for kind, spans in kinds.items() if any(first <= start and end <= last for _, first, last in spans)]
    shown = escape(text[start:end])
    marked = f'<mark class="{" ".join(inside)}">{shown}</mark>' if inside else shown
    return marked + "".join(
        f'<span class="tag {kind}" title="{kind}">{_SIGNS[kind]}{escape(label)}</span>'
        for kind, spans in kinds.items()
        for label, _, last in sorted(spans)
        if last == end
    )


_SIGNS = {"right": "", "wrong": "+", "missed": "\u2212"}
