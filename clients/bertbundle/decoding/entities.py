"""Turn labelled tokens into entities."""

from __future__ import annotations

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

__all__ = ["decode_entities", "decode_label_outputs", "end_with_combining_marks", "outside_entities"]

_SKIN_TONES = "\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"  # Unicode TR 51, emoji modifiers


def decode_label_outputs(answer: DecodeInput) -> list[Entity]:
    """Return the entities of a text from its `label_ids` and `label_scores`.

    Raises:
        ServerError: not one label and one score for each token, or a label id that the manifest does not have.
    """
    model, encoding = answer.model, answer.encoding
    labels, scores = answer.outputs["label_ids"], answer.outputs["label_scores"]
    tokens, size = len(encoding.ids), len(model.tags)
    if labels.ndim != 1 or labels.shape != scores.shape or len(labels) < tokens:
        shapes = f"{list(labels.shape)} and {list(scores.shape)}"
        raise ServerError(f"the server answered rows of {shapes} for label_ids and label_scores of {tokens}.")
    if labels.size and not 0 <= labels.min() <= labels.max() < size:
        raise ServerError(f"label_ids outside [0, {size}): the server's model and its manifest disagree.")
    rule = model.manifest.word_labels
    return decode_entities(
        str(answer.text), encoding, labels.tolist(), scores.tolist(), tags=model.tags, word_labels=rule
    )


def outside_entities(model: LoadedModel, row: Arrays) -> npt.NDArray[np.bool_]:
    """Return for each token whether its label is outside of all entities."""
    outside_labels = np.array([tag.role == OUTSIDE for tag in model.tags])
    outside: npt.NDArray[np.bool_] = outside_labels[np.clip(row["label_ids"], 0, len(outside_labels) - 1)]
    return outside


@dataclass(frozen=True, slots=True)
class _Unit:
    """A token or a word: what has one label."""

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
    """Turn the labelled tokens of one text into entities, in the order of the text.

    Label sequences that the scheme does not allow are accepted, as by most evaluators: an I- without a B- before it
    begins an entity.

    Args:
        text: the text that was encoded.
        encoding: its tokens; special tokens are skipped.
        label_ids: one for each token of the encoding; further ones (padding) are ignored.
        label_scores: the probability of each label.
        tags: the parsed label of each label id, from `parse_labels`.
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
        # One character may be several tokens (the letters of a Hangul syllable, an accent): the first label counts.
        if word is not None and end > max(start, reached):
            begin, reached = max(start, reached), end_with_combining_marks(text, end)
            units.append((word, _Unit(tags[label], float(score), begin, reached)))
    return units


def _words(tokens: Iterable[tuple[int, _Unit]], rule: str) -> list[tuple[int, _Unit]]:
    """Join the tokens of each word into one unit with the label of one of them."""
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


def end_with_combining_marks(text: str, end: int) -> int:
    """Return the end of a span, extended by the combining marks that follow its last character.

    A tokenizer that strips accents does not include them in its offsets.

    >>> end_with_combining_marks("Rene\u0301 is", 4)
    5
    """
    while end < len(text) and (unicodedata.category(text[end])[0] == "M" or text[end] in _SKIN_TONES):
        end += 1
    return end
