"""Question answering: the best answer spans of a context, and the probability that it has no answer."""

from __future__ import annotations

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
"""Default for the maximum number of tokens of an answer: `max_answer_len` of transformers' pipeline."""
_LOGITS = ("start_logits", "end_logits")


@dataclass(frozen=True, slots=True)
class Span:
    """A span of a context: offsets in characters, and its probability."""

    start: int
    end: int
    score: float


class AnswerSpans:
    """The probabilities of a context's spans to be the answer.

    They are over [CLS] and the context's tokens: [CLS] as start and end means "no answer" to a model that was trained
    that way (Devlin et al., "BERT", 2019, section 4.3, SQuAD 2.0).

    Attributes:
        null: probability that there is no answer; 0.0 for a tokenizer without [CLS].
    """

    def __init__(self, text: str, encoding: Encoding, row: Arrays) -> None:
        """Read one row of start and end logits for a question and its context, `text`.

        Raises:
            ServerError: fewer logits than tokens, or NaN.
        """
        self._text, self._encoding = text, encoding
        self._context = [index for index, side in enumerate(encoding.sequence_ids) if side == 1]
        null = [0] if encoding.sequence_ids[0] is None else []
        starts, ends = (_probabilities(row[name], encoding, null + self._context) for name in _LOGITS)
        self.null = float(starts[0] * ends[0]) if null else 0.0
        self._starts, self._ends = starts[len(null) :], ends[len(null) :]

    def best(self, count: int = 1, *, max_tokens: int = MAX_ANSWER_TOKENS, whole_words: bool = True) -> list[Span]:
        """Return the best spans of up to `max_tokens` tokens, best first; of equals the shortest, then the first."""
        best = _best(self._starts, self._ends, count, max_tokens)
        return [self._span(first, last, whole_words) for first, last in best]

    def _span(self, first: int, last: int, whole_words: bool) -> Span:
        tokens = self._context[first], self._context[last]
        start, end = (_whole_words if whole_words else _token_offsets)(self._encoding, *tokens)
        return Span(start, end_with_combining_marks(self._text, end), float(self._starts[first] * self._ends[last]))


def _probabilities(logits: npt.NDArray[np.float32], encoding: Encoding, places: list[int]) -> npt.NDArray[np.float64]:
    if logits.ndim != 1 or len(logits) < len(encoding):
        raise ServerError(f"the server answered {list(logits.shape)} logits for {len(encoding)} tokens.")
    values = softmax(logits[places])
    if np.isnan(values).any():
        raise ServerError("the server answered logits that are not numbers.")
    return values


def _best(
    starts: npt.NDArray[np.float64], ends: npt.NDArray[np.float64], count: int, max_tokens: int
) -> list[tuple[int, int]]:
    """Return the first and last token of the best spans; only spans of up to `max_tokens` tokens are computed."""
    size = len(starts)
    products = np.full((min(max_tokens, size), size), -1.0)
    for length, row in enumerate(products):
        row[: size - length] = starts[: size - length] * ends[length:]
    flat = products.ravel()
    count = min(count, flat.size)
    good = np.flatnonzero(flat >= max(0.0, np.partition(flat, -count)[-count]))
    best = good[np.argsort(-flat[good], kind="stable")][:count].tolist()
    return [(index % size, index % size + index // size) for index in best]


def _token_offsets(encoding: Encoding, first: int, last: int) -> tuple[int, int]:
    return encoding.offsets[first][0], encoding.offsets[last][1]


def _whole_words(encoding: Encoding, first: int, last: int) -> tuple[int, int]:
    """Return the offsets from the start of the first token's word to the end of the last token's word."""
    words = list(zip(encoding.sequence_ids, encoding.word_ids, strict=True))
    first = words.index(words[first])
    last = len(words) - 1 - words[::-1].index(words[last])
    return _token_offsets(encoding, first, last)


def decode_answer(
    answer: DecodeInput, *, max_answer_len: int = MAX_ANSWER_TOKENS, handle_impossible_answer: bool = False
) -> Answer:
    """Return the span with the highest product of start and end probability.

    Args:
        answer: a question and its context, and their `start_logits` and `end_logits`.
        max_answer_len: maximum number of tokens of the span.
        handle_impossible_answer: return an empty answer if "no answer" is more probable than the span.
    """
    spans = AnswerSpans(answer.text[1], answer.encoding, answer.outputs)
    (span,) = spans.best(max_tokens=max_answer_len)
    if handle_impossible_answer and spans.null > span.score:
        return Answer("", 0, 0, spans.null, spans.null)
    return Answer(answer.text[1][span.start : span.end], span.start, span.end, span.score, spans.null)


def merge_answer_logits(outputs: WindowOutputs) -> Arrays:
    """Merge logits per token; those of [CLS] are of the window that is most certain of an answer.

    So a context has no answer if none of its windows has one; source: `min_null_feature_index` of run_squad.py in
    google-research/bert.
    """
    row = merge_token_outputs(outputs.windows, outputs.rows)
    certain = min(outputs.rows, key=lambda window: float(sum(window[name][0] for name in _LOGITS)))
    return {name: np.concatenate([certain[name][:1], values[1:]]) for name, values in row.items()}
