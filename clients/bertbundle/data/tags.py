"""Convert tags, one for each token, to spans: leniently like conlleval, or strictly by a label scheme.

Source: seqeval 1.2.2, whose results are equal. `get_entities` of its default mode follows conlleval.pl of CoNLL-2000;
the tables of the strict mode are those of `seqeval/scheme.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bertbundle.contract.labels import OUTSIDE, Tag

__all__ = ["SCHEMES", "lenient_spans", "strict_spans"]

_Span = tuple[str, int, int]
_OUTSIDE = Tag(OUTSIDE, "")


@dataclass(frozen=True, slots=True)
class _Scheme:
    """Rules of a scheme: each is the role of a token, the role of the next one, and whether their types are equal.

    ``.`` stands for any role; ``=`` for equal types, ``!`` for different types and ``*`` for both.

    Attributes:
        roles: the roles that the scheme has, besides O.
        start, inside: where the second token starts or continues a span.
        end: where a span ends before the second token. A span that ends elsewhere does not follow the scheme.
    """

    roles: str
    start: tuple[str, ...]
    inside: tuple[str, ...]
    end: tuple[str, ...]


_BIOES = _Scheme("BIES", (".B*", ".S*"), ("BI=", "BE=", "II=", "IE="), ("S.*", "E.*"))
SCHEMES = {
    "BIO": _Scheme("BI", (".B*",), ("BI=", "II="), ("IO*", "II!", "IB*", "BO*", "BI!", "BB*")),
    "IOB1": _Scheme(
        "BI", ("OI*", "II!", "BI*", "IB=", "BB="), ("BI=", "II="), ("II!", "IO*", "IB*", "BO*", "BI!", "BB=")
    ),
    "IOE2": _Scheme("IE", ("OI*", "OE*", "EI*", "EE*", "II!", "IE!"), ("IE=", "II="), ("E.*",)),
    "BIOES": _BIOES,
    "BMES": _BIOES,
    "BILOU": _BIOES,
    "IO": _Scheme("I", ("OI*", "II!"), ("II=",), ("IO*", "II!")),
}
"""The label schemes by name. The roles M, L and U of BMES and BILOU are I, E and S: see `parse_labels`."""


def lenient_spans(tags: Sequence[Tag]) -> list[_Span]:
    """Return the spans of tags as label, first token and end, whatever their scheme.

    A tag that continues nothing starts a span.

    >>> lenient_spans([Tag("I", "PER"), Tag("I", "PER"), Tag("B", "PER")])
    [('PER', 0, 2), ('PER', 2, 3)]
    """
    spans: list[_Span] = []
    before = _OUTSIDE
    for index, tag in enumerate(tags):
        if tag.role != OUTSIDE:
            start = index if _starts(before, tag) else spans.pop()[1]
            spans.append((tag.type, start, index + 1))
        before = tag
    return spans


def _starts(before: Tag, tag: Tag) -> bool:
    """Return whether a tag that is not outside starts a span after the tag before it."""
    return tag.role in "BS" or before.role in "OES" or before.type != tag.type


def strict_spans(tags: Sequence[Tag], scheme: str) -> list[_Span]:
    """Return the spans of tags that follow a scheme, as label, first token and end; others form none.

    >>> strict_spans([Tag("I", "PER"), Tag("B", "PER"), Tag("I", "PER")], "BIO")
    [('PER', 1, 3)]
    """
    rules = SCHEMES[scheme]
    spans: list[_Span] = []
    padded = [*tags, _OUTSIDE]
    index, before = 0, _OUTSIDE
    while index < len(tags):
        if not _matches(rules.start, before, padded[index]):
            before = padded[index]
            index += 1
            continue
        end = index + 1
        while _matches(rules.inside, padded[end - 1], padded[end]):
            end += 1
        if _matches(rules.end, padded[end - 1], padded[end]):
            spans.append((padded[index].type, index, end))
        index, before = end, padded[end - 1]
    return spans


def _matches(patterns: tuple[str, ...], before: Tag, tag: Tag) -> bool:
    same = "=" if before.type == tag.type else "!"
    return any(
        rule[0] in (before.role, ".") and rule[1] in (tag.role, ".") and rule[2] in (same, "*") for rule in patterns
    )
