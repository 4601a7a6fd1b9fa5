"""Turn labelled tokens into entities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bertbundle.contract.labels import OUTSIDE, Tag
from bertbundle.contract.types import Encoding, Entity
from bertbundle.text.combining_marks import end_with_combining_marks

__all__ = ["decode_entities"]


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


def _tokens(
    text: str, encoding: Encoding, label_ids: Sequence[int], label_scores: Sequence[float], tags: Sequence[Tag]
) -> list[tuple[int, _Unit]]:
    units: list[tuple[int, _Unit]] = []
    reached = 0
    rows = zip(encoding.word_ids, encoding.offsets, label_ids, label_scores, strict=False)
    for word, (start, end), label, score in rows:
        # A character may be several tokens (the letters of a Hangul syllable, an accent): the first one labels it.
        if word is not None and end > max(start, reached):
            begin, reached = max(start, reached), end_with_combining_marks(text, end)
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
