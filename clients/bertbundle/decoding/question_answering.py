"""Decode answers: the best spans of a context, and the probability that it has no answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bertbundle.contract.types import Answer, Arrays, Encoding
from bertbundle.decoding.activations import softmax
from bertbundle.decoding.base import DecodeInput, WindowOutputs
from bertbundle.decoding.entities import end_with_combining_marks
from bertbundle.errors import ServerError
from bertbundle.text.windows import merge_token_outputs

__all__ = ["MAX_ANSWER_TOKENS", "AnswerSpans", "Span", "decode_answer", "merge_answer_logits"]

MAX_ANSWER_TOKENS = 15
"""The default of `max_answer_len` in transformers' pipeline."""
_LOGITS = ("start_logits", "end_logits")
_MAX_PRODUCTS = 1_000_000
"""Number of spans whose scores are in memory at a time; those of a long context are millions."""


@dataclass(frozen=True, slots=True)
class Span:
    """A span of a context, in characters, and its probability."""

    start: int
    end: int
    score: float


class AnswerSpans:
    """The spans of a context, with the probability that each is the answer.

    Probabilities are over [CLS] and the tokens of the context: a model of SQuAD 2.0 predicts [CLS] as start and end if
    there is no answer. Source: Devlin et al., "BERT", 2019, section 4.3.

    Attributes:
        null_score: probability that there is no answer; 0.0 for a tokenizer without [CLS].
    """

    def __init__(self, context: str, encoding: Encoding, row: Arrays) -> None:
        """Compute the probabilities from the start and end logits for a question and its context.

        Args:
            context: the context.
            encoding: the tokens of question and context.
            row: the start and end logits of each token.

        Raises:
            ServerError: there are fewer logits than tokens, or some are NaN.
        """
        self._context, self._encoding = context, encoding
        self._tokens = [index for index, text in enumerate(encoding.sequence_ids) if text == 1]
        cls = [0] if encoding.sequence_ids[0] is None else []
        starts, ends = (_probabilities(row[name], encoding, cls + self._tokens) for name in _LOGITS)
        self.null_score = float(starts[0] * ends[0]) if cls else 0.0
        self._starts, self._ends = starts[len(cls) :], ends[len(cls) :]

    def best(self, count: int = 1, *, max_tokens: int = MAX_ANSWER_TOKENS, whole_words: bool = True) -> list[Span]:
        """Return the best spans of at most `max_tokens` tokens, best first; equals by length, then by position."""
        best = _best(self._starts, self._ends, count, max_tokens)
        return [self._span(first, last, whole_words) for first, last in best]

    def _span(self, first: int, last: int, whole_words: bool) -> Span:
        tokens = self._tokens[first], self._tokens[last]
        start, end = (_whole_words if whole_words else _token_offsets)(self._encoding, *tokens)
        return Span(start, end_with_combining_marks(self._context, end), float(self._starts[first] * self._ends[last]))


def _probabilities(logits: npt.NDArray[np.float32], encoding: Encoding, tokens: list[int]) -> npt.NDArray[np.float64]:
    if logits.ndim != 1 or len(logits) < len(encoding):
        raise ServerError(f"the server returned logits of shape {list(logits.shape)} for {len(encoding)} tokens.")
    values = softmax(logits[tokens])
    if np.isnan(values).any():
        raise ServerError("the server returned logits that are NaN.")
    return values


def _best(
    starts: npt.NDArray[np.float64], ends: npt.NDArray[np.float64], count: int, max_tokens: int
) -> list[tuple[int, int]]:
    """Return the first and last token of the best spans, best first."""
    size = len(starts)
    lengths, step = range(min(max_tokens, size)), max(1, _MAX_PRODUCTS // size)
    found = [span for first in lengths[::step] for span in _best_of(starts, ends, count, lengths[first : first + step])]
    return [(first, first + length) for _, length, first in sorted(found)[:count]]


def _best_of(
    starts: npt.NDArray[np.float64], ends: npt.NDArray[np.float64], count: int, lengths: Sequence[int]
) -> list[tuple[float, int, int]]:
    """Return the best spans of some lengths: the negative product, the length less 1 and the first token of each."""
    size = len(starts)
    products = np.full((len(lengths), size), -1.0)
    for length, row in zip(lengths, products, strict=True):
        row[: size - length] = starts[: size - length] * ends[length:]
    flat = products.ravel()
    count = min(count, flat.size)
    candidates = np.flatnonzero(flat >= max(0.0, np.partition(flat, -count)[-count]))
    best = candidates[np.argsort(-flat[candidates], kind="stable")][:count].tolist()
    return [(-float(flat[index]), lengths[index // size], index % size) for index in best]


def _token_offsets(encoding: Encoding, first: int, last: int) -> tuple[int, int]:
    return encoding.offsets[first][0], encoding.offsets[last][1]


def _whole_words(encoding: Encoding, first: int, last: int) -> tuple[int, int]:
    """Return the offsets from the start of the first token's word to the end of the last token's word."""
    texts, words = encoding.sequence_ids, encoding.word_ids
    while first and (texts[first - 1], words[first - 1]) == (texts[first], words[first]):
        first -= 1
    while last + 1 < len(words) and (texts[last + 1], words[last + 1]) == (texts[last], words[last]):
        last += 1
    return _token_offsets(encoding, first, last)


def decode_answer(
    item: DecodeInput, *, max_answer_len: int = MAX_ANSWER_TOKENS, handle_impossible_answer: bool = False
) -> Answer:
    """Return the span with the highest product of start and end probability.

    Args:
        item: a question and its context, and their `start_logits` and `end_logits`.
        max_answer_len: maximum number of tokens of the span.
        handle_impossible_answer: return an empty answer if "no answer" is more probable than the best span.
    """
    context = item.text[1]
    spans = AnswerSpans(context, item.encoding, item.outputs)
    (span,) = spans.best(max_tokens=max_answer_len)
    if handle_impossible_answer and spans.null_score > span.score:
        return Answer("", 0, 0, spans.null_score, spans.null_score)
    return Answer(context[span.start : span.end], span.start, span.end, span.score, spans.null_score)


def merge_answer_logits(outputs: WindowOutputs) -> Arrays:
    """Merge logits per token; take those of [CLS] from the window that is most certain to contain an answer.

    A context has no answer only if none of its windows has one. Source: `min_null_feature_index` in run_squad.py of
    google-research/bert.
    """
    row = merge_token_outputs(outputs.windows, outputs.rows)
    most_certain = min(outputs.rows, key=lambda window: float(sum(window[name][0] for name in _LOGITS)))
    return {name: np.concatenate([most_certain[name][:1], values[1:]]) for name, values in row.items()}
