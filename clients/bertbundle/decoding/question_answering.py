"""Question answering: the best spans of a context, and whether it holds an answer at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bertbundle.contract.types import Answer, Arrays, Encoding
from bertbundle.decoding.activations import softmax
from bertbundle.decoding.loaded_model import Held
from bertbundle.errors import ServerError
from bertbundle.text.combining_marks import end_with_combining_marks
from bertbundle.text.tokenizer import Text
from bertbundle.text.windows import Window, merge_token_outputs

__all__ = ["MOST_TOKENS", "Span", "Spans", "best_answer", "with_null"]

MOST_TOKENS = 15
"""Tokens of an answer at most, unless the caller says: `max_answer_len` of transformers' pipeline."""
_LOGITS = ("start_logits", "end_logits")


@dataclass(frozen=True, slots=True)
class Span:
    """A span of a context: offsets in characters, and its probability."""

    start: int
    end: int
    score: float


class Spans:
    """What one answer says of a context's spans.

    Probabilities are over [CLS] and the context's tokens: [CLS] as start and end is "no answer" to a model trained so
    (Devlin et al., "BERT", 2019, section 4.3, SQuAD 2.0).

    Attributes:
        null: probability that there is no answer; 0.0 for a tokenizer without [CLS].
    """

    def __init__(self, text: str, encoding: Encoding, row: Arrays) -> None:
        """Read one row of start and end logits of a question and `text`, its context.

        Raises:
            ServerError: logits of another length, or that are not numbers.
        """
        self._text, self._encoding = text, encoding
        self._context = [index for index, side in enumerate(encoding.sequence_ids) if side == 1]
        null = [0] if encoding.sequence_ids[0] is None else []
        starts, ends = (_probabilities(row[name], encoding, null + self._context) for name in _LOGITS)
        self.null = float(starts[0] * ends[0]) if null else 0.0
        self._starts, self._ends = starts[len(null) :], ends[len(null) :]

    def best(self, count: int = 1, *, most: int = MOST_TOKENS, whole_words: bool = True) -> list[Span]:
        """Return the best spans of up to `most` tokens, best first, of equals the shortest, then the first."""
        return [self._span(first, last, whole_words) for first, last in _best(self._starts, self._ends, count, most)]

    def _span(self, first: int, last: int, whole_words: bool) -> Span:
        tokens = self._context[first], self._context[last]
        start, end = (_whole_words if whole_words else _as_they_are)(self._encoding, *tokens)
        return Span(start, end_with_combining_marks(self._text, end), float(self._starts[first] * self._ends[last]))


def _probabilities(logits: npt.NDArray[np.float32], encoding: Encoding, places: list[int]) -> npt.NDArray[np.float64]:
    if logits.ndim != 1 or len(logits) < len(encoding):
        raise ServerError(f"the server answered {list(logits.shape)} logits for {len(encoding)} tokens.")
    values = softmax(logits[places])
    if np.isnan(values).any():
        raise ServerError("the server answered logits that are not numbers.")
    return values


def _best(
    starts: npt.NDArray[np.float64], ends: npt.NDArray[np.float64], count: int, most: int
) -> list[tuple[int, int]]:
    """Return first and last token of the best spans; products by number of tokens need no square of the context."""
    size = len(starts)
    products = np.full((min(most, size), size), -1.0)
    for length, row in enumerate(products):
        row[: size - length] = starts[: size - length] * ends[length:]
    flat = products.ravel()
    count = min(count, flat.size)
    good = np.flatnonzero(flat >= max(0.0, np.partition(flat, -count)[-count]))
    best = good[np.argsort(-flat[good], kind="stable")][:count].tolist()
    return [(index % size, index % size + index // size) for index in best]


def _as_they_are(encoding: Encoding, first: int, last: int) -> tuple[int, int]:
    return encoding.offsets[first][0], encoding.offsets[last][1]


def _whole_words(encoding: Encoding, first: int, last: int) -> tuple[int, int]:
    """Return the characters from the word of one token to the end of the word of another."""
    words = list(zip(encoding.sequence_ids, encoding.word_ids, strict=True))
    first = words.index(words[first])
    last = len(words) - 1 - words[::-1].index(words[last])
    return _as_they_are(encoding, first, last)


def best_answer(
    held: Held,
    text: Text,
    encoding: Encoding,
    row: Arrays,
    *,
    max_answer_len: int = MOST_TOKENS,
    handle_impossible_answer: bool = False,
) -> Answer:
    """Pick the span with the highest product of the probabilities of its start and its end, or none if told it may."""
    del held
    spans = Spans(text[1], encoding, row)
    (span,) = spans.best(most=max_answer_len)
    if handle_impossible_answer and spans.null > span.score:
        return Answer("", 0, 0, spans.null, spans.null)
    return Answer(text[1][span.start : span.end], span.start, span.end, span.score, spans.null)


def with_null(held: Held, windows: Sequence[Window], rows: Sequence[Arrays]) -> Arrays:
    """Merge logits like `merge_token_outputs`; those of [CLS] are from the window that is surest of an answer.

    A text has no answer if none of its windows has one; source: `min_null_feature_index` of run_squad.py in
    google-research/bert.
    """
    del held
    row = merge_token_outputs(windows, rows)
    if len(windows) == 1:
        return row
    surest = min(rows, key=lambda each: float(sum(each[name][0] for name in _LOGITS)))
    return {name: np.concatenate([surest[name][:1], values[1:]]) for name, values in row.items()}
