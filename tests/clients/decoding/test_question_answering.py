"""Answers are spans of the context."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertbundle import Answer, Client, ServerError
from bertbundle.contract.types import Encoding
from bertbundle.decoding import question_answering
from bertbundle.decoding.question_answering import AnswerSpans
from fakes import FakeTransport, Model, Output, connect, end_logits, make_manifest, start_logits


def make_client(**overrides: Output) -> Client:
    """Return a client of a question answering model."""
    return connect(FakeTransport(Model(make_manifest("question-answering"), overrides=overrides)))


def test_answer_is_a_span_of_the_context() -> None:
    """The answer consists of whole words of the original context, and never of words of the question."""
    client = make_client()
    context = "in  Berlin a."
    answer = client.answer("today", context)
    assert (answer.text, answer.start, answer.end) == ("Berlin", 4, 10)
    assert answer.text == context[answer.start : answer.end]
    assert 0 < answer.score < 1
    assert client.answer(["today", "in"], [context, "today"])[1].text == "today"


def test_answer_is_the_best_span() -> None:
    """The answer is the span with the highest product of probabilities that does not end before it starts."""
    logits = {"start_logits": [0, 0, 0, 0, 1, 9, 0, 0], "end_logits": [0, 0, 0, 0, 9, 0, 8, 0]}
    client = make_client(**{name: lambda _, row=row: np.array([row], np.float32) for name, row in logits.items()})
    starts, ends = (np.exp([row[0], *row[3:7]]) / np.exp([row[0], *row[3:7]]).sum() for row in logits.values())
    answer = client.answer("in", "a b c e")
    assert answer == Answer("c e", 4, 7, answer.score, answer.null_score)
    assert answer.score == pytest.approx(starts[3] * ends[4])
    assert answer.null_score == pytest.approx(starts[0] * ends[0])


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=9),
    st.integers(1, 30),
    st.integers(1, 12),
    st.integers(1, 40),
)
def test_best_spans(logits: list[tuple[int, int]], count: int, max_tokens: int, products: int) -> None:
    """The best spans are those of a search of all, also if not all scores are in memory at a time."""
    size = len(logits)
    zeros, offsets = (0,) * size, tuple((index, index + 1) for index in range(size))
    encoding = Encoding(zeros, zeros, ("",) * size, offsets, zeros, (1,) * size)
    starts, ends = np.exp(np.array(logits, np.float64)).T / np.exp(np.array(logits, np.float64)).sum(axis=0)[:, None]
    every = [(-starts[a] * ends[b], b - a, a) for a in range(size) for b in range(a, min(size, a + max_tokens))]
    row = dict(zip(("start_logits", "end_logits"), np.array(logits, np.float32).T, strict=True))
    spans = AnswerSpans("x" * size, encoding, row)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(question_answering, "_MAX_PRODUCTS", products)
        found = spans.best(count, max_tokens=max_tokens, whole_words=False)
    assert [span.score for span in found] == pytest.approx([-score for score, _, _ in sorted(every)[:count]])
    assert len({(span.start, span.end) for span in found}) == len(found)
    assert all(span.score == pytest.approx(starts[span.start] * ends[span.end - 1]) for span in found)


def test_max_answer_len() -> None:
    """An answer has at most `max_answer_len` tokens; a number of less than 1 raises ValueError."""
    logits = {"start_logits": [0, 0, 0, 0, 1, 9, 0, 0], "end_logits": [0, 0, 0, 0, 9, 0, 8, 0]}
    client = make_client(**{name: lambda _, row=row: np.array([row], np.float32) for name, row in logits.items()})
    assert client.answer("in", "a b c e", max_answer_len=1).text == "b"
    with pytest.raises(ValueError, match="max_answer_len must be at least 1, got 0"):
        client.answer("in", "a b", max_answer_len=0)


@pytest.fixture
def reader() -> Client:
    """A client of a model that finds "berlin" and "today", and predicts "no answer" for other contexts."""

    def with_null(logits: Output) -> Output:
        def logits_with_null(inputs: Any) -> Any:
            values = logits(inputs)
            values[:, 0] = np.where((values > 5).any(axis=1), -9.0, 9.0)
            return values

        return logits_with_null

    return make_client(start_logits=with_null(start_logits), end_logits=with_null(end_logits))


@pytest.mark.parametrize("filler", ["a ", "a " * 40], ids=["one-window", "windows"])
def test_no_answer(reader: Client, filler: str) -> None:
    """With `handle_impossible_answer`, the answer is empty if no window of the context has an answer."""
    empty = reader.answer("wang", filler, handle_impossible_answer=True)
    assert empty == Answer("", 0, 0, empty.score, empty.score)
    assert empty.score > 0.9
    assert reader.answer("wang", filler).text == "a"
    assert reader.answer("wang", filler).null_score == empty.score
    found = reader.answer("wang", f"{filler}Berlin {filler}", handle_impossible_answer=True)
    assert (found.text, found.null_score < 1e-6) == ("Berlin", True)


@pytest.mark.parametrize(
    "logits",
    [
        pytest.param(lambda _: np.zeros((1, 2)), id="too-few"),
        pytest.param(lambda _: np.full((1, 8), np.nan), id="nan"),
    ],
)
def test_malformed_logits(logits: Output) -> None:
    """Fewer logits than tokens, or NaN, raise ServerError."""
    with pytest.raises(ServerError, match="the server returned logits"):
        make_client(end_logits=logits).answer("a", "b")
