"""Convert labelled tokens to entities."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bertbundle.contract.labels import OUTSIDE, Tag
from bertbundle.contract.types import Arrays, Encoding, Entity
from bertbundle.decoding.base import DecodeInput
from bertbundle.decoding.loaded_model import LoadedModel
from bertbundle.errors import ServerError

__all__ = [
    "Unit",
    "decode_entities",
    "decode_label_outputs",
    "end_with_combining_marks",
    "join_units",
    "labelled_units",
    "outside_entities",
]

_FIRST_MARK = "\u0300"
_SKIN_TONES = "\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"  # source: Unicode TR 51, emoji modifiers
_FLAG_LETTERS = frozenset(map(chr, range(0x1F1E6, 0x1F200)))
_JOINER, _EMOJI_STYLE = "\u200d", "\ufe0f"
# The letters of one Hangul syllable: leading consonants, then vowels, then trailing consonants.
_LEADING, _VOWEL, _TRAILING = (
    r"\u1100-\u115f\ua960-\ua97c",
    r"\u1160-\u11a7\ud7b0-\ud7c6",
    r"\u11a8-\u11ff\ud7cb-\ud7fb",
)
_SYLLABLES = r"\uac00-\ud7a3"
_JAMO = re.compile(
    f"[{_LEADING}][{_LEADING}{_VOWEL}{_SYLLABLES}]|[{_VOWEL}][{_VOWEL}{_TRAILING}]|[{_SYLLABLES}{_TRAILING}][{_TRAILING}]"
)


def decode_label_outputs(item: DecodeInput) -> list[Entity]:
    """Return the entities of a text from its `label_ids` and `label_scores`.

    Raises:
        ServerError: a token has no label or no score, a label id is not in the manifest, or a score is NaN.
    """
    return [join_units(str(item.text), span) for span in _spans(labelled_units(item))]


def labelled_units(item: DecodeInput) -> list[Unit]:
    """Return the tokens or words of a text with their labels, from its `label_ids` and `label_scores`.

    Raises:
        ServerError: as `decode_label_outputs`.
    """
    _check_label_outputs(item)
    model, outputs = item.model, item.outputs
    return _units(
        str(item.text),
        item.encoding,
        outputs["label_ids"].tolist(),
        outputs["label_scores"].tolist(),
        model.tags,
        model.manifest.word_labels,
    )


def _check_label_outputs(item: DecodeInput) -> None:
    labels, scores = item.outputs["label_ids"], item.outputs["label_scores"]
    tokens, size = len(item.encoding.ids), len(item.model.tags)
    if labels.ndim != 1 or labels.shape != scores.shape or len(labels) < tokens:
        shapes = f"{list(labels.shape)} and {list(scores.shape)}"
        raise ServerError(f"the server returned label_ids and label_scores of shapes {shapes} for {tokens} tokens.")
    if labels.size and not 0 <= labels.min() <= labels.max() < size:
        raise ServerError(f"the server returned label_ids outside [0, {size}): the model does not match its manifest.")
    if np.isnan(scores[:tokens]).any():  # the labels mean nothing then, mostly "O"
        raise ServerError("the server returned label_scores that are NaN.")


def outside_entities(model: LoadedModel, row: Arrays) -> npt.NDArray[np.bool_]:
    """Return which tokens of a row are outside any entity."""
    outside_labels = np.array([tag.role == OUTSIDE for tag in model.tags])
    outside: npt.NDArray[np.bool_] = outside_labels[np.clip(row["label_ids"], 0, len(outside_labels) - 1)]
    return outside


@dataclass(frozen=True, slots=True)
class Unit:
    """A token or a word, with its label.

    Attributes:
        tag: the parsed label.
        score: its probability.
        start, end: character offsets.
    """

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
    """Convert the labelled tokens of one text to entities, in the order of the text.

    Label sequences that the scheme does not allow are decoded leniently, as most evaluation scripts do: an I- without
    a B- before it starts an entity.

    Args:
        text: the text that was encoded.
        encoding: its tokens; special tokens are skipped.
        label_ids: the label id of each token; those of padding are ignored.
        label_scores: the probability of each of these labels.
        tags: the parsed label of each label id; see `parse_labels`.
        word_labels: see `Manifest.word_labels`.
    """
    units = _units(text, encoding, label_ids, label_scores, tags, word_labels)
    return [join_units(text, span) for span in _spans(units)]


def _units(
    text: str,
    encoding: Encoding,
    label_ids: Sequence[int],
    label_scores: Sequence[float],
    tags: Sequence[Tag],
    word_labels: str,
) -> list[Unit]:
    units = _tokens(text, encoding, label_ids, label_scores, tags)
    if word_labels != "token":
        units = _words(units, word_labels)
    return [unit for _, unit in units]


def _tokens(
    text: str, encoding: Encoding, label_ids: Sequence[int], label_scores: Sequence[float], tags: Sequence[Tag]
) -> list[tuple[int, Unit]]:
    units: list[tuple[int, Unit]] = []
    last_end = 0
    rows = zip(encoding.word_ids, encoding.offsets, label_ids, label_scores, strict=False)
    for word, (start, end), label, score in rows:
        start = max(start, last_end)
        # One character may have several tokens (the letters of a Hangul syllable, an accent): the first one labels it.
        if word is not None and end > start:
            last_end = end_with_combining_marks(text, end)
            units.append((word, Unit(tags[label], float(score), start, last_end)))
    return units


def _words(tokens: Iterable[tuple[int, Unit]], word_labels: str) -> list[tuple[int, Unit]]:
    """Join the tokens of each word into a unit with the label of one of them."""
    words: dict[int, list[Unit]] = {}
    for word, unit in tokens:
        words.setdefault(word, []).append(unit)
    return [(word, _word(units, word_labels)) for word, units in words.items()]


def _word(units: list[Unit], word_labels: str) -> Unit:
    chosen = units[0]
    if word_labels == "first-labelled":
        chosen = next((unit for unit in units if unit.tag.role != OUTSIDE), chosen)
    return Unit(chosen.tag, chosen.score, units[0].start, units[-1].end)


def _spans(units: Iterable[Unit]) -> list[list[Unit]]:
    spans: list[list[Unit]] = []
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


def join_units(text: str, span: Sequence[Unit]) -> Entity:
    """Return the tokens or words of one span of a text as an entity."""
    start, end = span[0].start, span[-1].end
    score = sum(unit.score for unit in span) / len(span)
    return Entity(label=span[0].tag.type, text=text[start:end], start=start, end=end, score=score)


def end_with_combining_marks(text: str, end: int) -> int:
    """Return the end of a span, extended to the end of the character that its last code point belongs to.

    A tokenizer that strips accents does not include them in its offsets, one that composes characters only their first
    code point, and a model may label the letters of a decomposed Hangul syllable differently. Source: Unicode Standard
    Annex 29, rules GB6 to GB13, except for the invisible characters that join nothing.

    >>> end_with_combining_marks("Rene\u0301 is", 4)
    5
    """
    while end < len(text) and text[end] >= _FIRST_MARK and (size := _continuation(text, end)):
        end += size
    return end


def _continuation(text: str, index: int) -> int:
    """Return how many code points from an index on belong to the character before it."""
    before, char = text[index - 1 : index], text[index]
    if unicodedata.category(char)[0] == "M" or char in _SKIN_TONES or _JAMO.fullmatch(before + char):
        return 1
    if char in _FLAG_LETTERS:
        letters = itertools.takewhile(_FLAG_LETTERS.__contains__, reversed(text[:index]))
        return sum(1 for _ in letters) % 2
    return 2 if char == _JOINER and _is_joined(before, text[index + 1 : index + 2]) else 0


def _is_joined(before: str, after: str) -> bool:
    """Return whether a joiner between two code points makes them one emoji."""
    is_emoji = before in (_EMOJI_STYLE, *_SKIN_TONES) or unicodedata.category(before or " ") == "So"
    return is_emoji and unicodedata.category(after or " ") == "So"
