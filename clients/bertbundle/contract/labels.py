"""Label schemes of token classification, and how labelled tokens become entities.

A label is a role and a type: ``B-PER`` begins a PER, ``I-PER`` continues one, ``E-PER`` ends one, ``S-PER`` is one by
itself, and everything else is outside.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bertbundle.contract.types import Encoding, Entity

__all__ = ["SCHEMES", "Tag", "after_marks", "decode_entities", "detect_scheme", "parse_labels"]

OUTSIDE = "O"
# Role of each prefix. BMES and BILOU are BIOES with other letters; IO knows no beginning, so neighbours of one type
# merge: also the way to read a model whose B- and I- are not to be relied on.
SCHEMES: dict[str, dict[str, str]] = {
    "IO": dict.fromkeys("BIMESLU", "I"),
    "BIO": {"B": "B", "I": "I"},
    "BIOES": {"B": "B", "I": "I", "E": "E", "S": "S"},
    "BMES": {"B": "B", "M": "I", "E": "E", "S": "S"},
    "BILOU": {"B": "B", "I": "I", "L": "E", "U": "S"},
}


@dataclass(frozen=True, slots=True)
class Tag:
    """A label taken apart.

    Attributes:
        role: B, I, E, S or O.
        type: the entity type; "" outside.
    """

    role: str
    type: str


def _split(label: str) -> tuple[str, str]:
    """Split ``B-PER`` into ``("B", "PER")``; a label without a one-letter prefix has the prefix ""."""
    if len(label) > 2 and label[1] in "-_":
        return label[0], label[2:]
    return "", label


def detect_scheme(labels: Sequence[str]) -> str:
    """Return the scheme that a list of labels follows: the smallest one that has all their prefixes.

    >>> detect_scheme(["O", "B-PER", "I-PER"])
    'BIO'
    >>> detect_scheme(["O", "PER", "LOC"])
    'IO'
    """
    prefixes = {_split(label)[0] for label in labels} - {""}
    if prefixes <= {"I"}:
        return "IO"
    return next((name for name, roles in SCHEMES.items() if name != "IO" and prefixes <= roles.keys()), "IO")


def parse_labels(labels: Sequence[str], scheme: str) -> tuple[Tag, ...]:
    """Take labels apart by a scheme.

    Where labels carry prefixes, one without (``X``, ``[CLS]``) is outside; where none does, all but ``O`` are types.

    Raises:
        ValueError: unknown scheme.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"unknown label scheme {scheme!r}, expected one of {', '.join(SCHEMES)}")
    roles = SCHEMES[scheme]
    prefixed = any(_split(label)[0] in roles for label in labels)
    return tuple(_parse(label, roles, prefixed) for label in labels)


def _parse(label: str, roles: dict[str, str], prefixed: bool) -> Tag:
    prefix, kind = _split(label)
    if prefix in roles:
        return Tag(roles[prefix], kind)
    if label == OUTSIDE or prefixed:
        return Tag(OUTSIDE, "")
    return Tag("I", label)


@dataclass(frozen=True, slots=True)
class _Unit:
    """What carries one label: a token, or a word."""

    tag: Tag
    score: float
    start: int
    end: int


def decode_entities(
    text: str,
    encoding: Encoding,
    label_ids: Sequence[int],
    label_scores: Sequence[float],
    *,
    tags: Sequence[Tag],
    word_labels: str = "token",
) -> list[Entity]:
    """Turn one text's labelled tokens into entities, in the order of the text.

    Sequences that the scheme does not allow are read leniently, as most evaluators do: an I- without a beginning
    begins an entity.

    Args:
        text: the text that was encoded.
        encoding: its tokens; special tokens are skipped.
        label_ids: one per token of the encoding; more (padding) are ignored.
        label_scores: the same, the probability of each label.
        tags: the taken-apart label of each label id, from `parse_labels`.
        word_labels: see `Manifest.word_labels`.
    """
    units = _tokens(text, encoding, label_ids, label_scores, tags)
    if word_labels != "token":
        units = _words(units, word_labels)
    return [_entity(text, span) for span in _spans(unit for _, unit in units)]


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


def _tokens(
    text: str, encoding: Encoding, label_ids: Sequence[int], label_scores: Sequence[float], tags: Sequence[Tag]
) -> list[tuple[int, _Unit]]:
    units: list[tuple[int, _Unit]] = []
    reached = 0
    rows = zip(encoding.word_ids, encoding.offsets, label_ids, label_scores, strict=False)
    for word, (start, end), label, score in rows:
        # A character may be several tokens (the letters of a Hangul syllable, an accent): the first one labels it.
        if word is not None and end > max(start, reached):
            begin, reached = max(start, reached), after_marks(text, end)
            units.append((word, _Unit(tags[label], float(score), begin, reached)))
    return units


def _words(tokens: Iterable[tuple[int, _Unit]], rule: str) -> list[tuple[int, _Unit]]:
    """Join the tokens of each word into one unit that carries one token's label."""
    words: dict[int, list[_Unit]] = {}
    for word, unit in tokens:
        words.setdefault(word, []).append(unit)
    return [(word, _word(units, rule)) for word, units in words.items()]


def _word(units: list[_Unit], rule: str) -> _Unit:
    chosen = units[0]
    if rule == "first-labelled":
        chosen = next((unit for unit in units if unit.tag.role != OUTSIDE), chosen)
    return _Unit(chosen.tag, chosen.score, units[0].start, units[-1].end)


def _spans(units: Iterable[_Unit]) -> list[list[_Unit]]:
    spans: list[list[_Unit]] = []
    open_type: str | None = None
    for unit in units:
        role, kind = unit.tag.role, unit.tag.type
        if role == OUTSIDE:
            open_type = None
            continue
        if role in "IE" and kind == open_type:
            spans[-1].append(unit)
        else:
            spans.append([unit])
        open_type = None if role in "ES" else kind
    return spans


def _entity(text: str, span: list[_Unit]) -> Entity:
    start, end = span[0].start, span[-1].end
    score = sum(unit.score for unit in span) / len(span)
    return Entity(label=span[0].tag.type, text=text[start:end], start=start, end=end, score=score)
