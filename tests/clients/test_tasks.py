"""What each task makes of a server's answers: values, answers to questions, fills of masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bertbundle import Answer, Client, Fill, InputError, ServerError


def ask(fakes: Any, task: str, **change: Any) -> Client:
    """Return a client of a model for a task; `change` replaces outputs."""
    model = fakes.Model(fakes.make_manifest(task), change=change)
    return Client("nowhere:1", "tiny", transport=fakes.FakeTransport(model))


def test_value(fakes: Any) -> None:
    """A regression answers one number for a text or a pair, in order for a list."""
    client = ask(fakes, "regression")
    wang, lives = fakes.VOCABULARY["wang"], fakes.VOCABULARY["lives"]
    assert client.regress("wang lives") == wang
    assert client.regress(["lives", ("wang", "in Berlin")]) == [lives, wang]


def test_answer_is_a_span_of_the_context(fakes: Any) -> None:
    """The answer is of the context only, whole words of it, cut from it as it was given."""
    client = ask(fakes, "question-answering")
    context = "in  Berlin a."
    answer = client.answer("today", context)
    assert (answer.text, answer.start, answer.end) == ("Berlin", 4, 10)
    assert answer.text == context[answer.start : answer.end]
    assert 0 < answer.score < 1
    assert client.answer(["today", "in"], [context, "today"])[1].text == "today"


def test_answer_is_the_best_span(fakes: Any) -> None:
    """Of all spans that do not end before they begin, the one with the highest product of probabilities is taken."""
    logits = {"start_logits": [0, 0, 0, 0, 1, 9, 0, 0], "end_logits": [0, 0, 0, 0, 9, 0, 8, 0]}
    client = ask(
        fakes,
        "question-answering",
        **{name: lambda _, row=row: np.array([row], np.float32) for name, row in logits.items()},
    )
    starts, ends = (np.exp(np.array(row[3:7])) / np.exp(np.array(row[3:7])).sum() for row in logits.values())
    answer = client.answer("in", "a b c e")
    assert answer == Answer("c e", 4, 7, answer.score)
    assert answer.score == pytest.approx(starts[2] * ends[3])


def test_fill_mask(fakes: Any) -> None:
    """Each mask is offered the model's tokens, best first, with the text as it then reads."""
    client = ask(fakes, "fill-mask")
    text = "[MASK] lives in [MASK]."
    first, second = client.fill_mask(text)
    assert first == [
        Fill("wang", fakes.VOCABULARY["wang"], "wang lives in [MASK].", 0, 6, 0.75),
        Fill("lives", fakes.VOCABULARY["lives"], "lives lives in [MASK].", 0, 6, 0.25),
    ]
    assert [fill.text for fill in second] == ["[MASK] lives in wang.", "[MASK] lives in lives."]
    assert client.fill_mask(["wang lives", text]) == [[], [first, second]]


@pytest.mark.parametrize(
    ("task", "method", "texts", "message"),
    [
        pytest.param("fill-mask", "fill_mask", [("a", "b")], "fill_mask takes a text each, got a pair", id="fill_mask"),
        pytest.param("token-classification", "entities", [("a", "b")], "entities takes a text each", id="entities"),
    ],
)
def test_pairs_where_texts_are_meant(fakes: Any, task: str, method: str, texts: Any, message: str) -> None:
    """A pair where a single text is meant is a mistake, not two texts."""
    with pytest.raises(TypeError, match=message):
        getattr(ask(fakes, task), method)(texts)


def test_questions_and_contexts_belong_together(fakes: Any) -> None:
    """Questions without a context each are a mistake."""
    client: Any = ask(fakes, "question-answering")
    with pytest.raises(TypeError, match="two lists of str of the same length"):
        client.answer(["a", "b"], ["c"])
    with pytest.raises(InputError, match=r"does question-answering, .* use answer\(\)"):
        client.embed("a")


@pytest.mark.parametrize(
    ("task", "change", "question"),
    [
        pytest.param("regression", {"value": lambda _: np.zeros((1, 2))}, ("regress", "a"), id="value"),
        pytest.param(
            "question-answering", {"end_logits": lambda _: np.zeros((1, 2))}, ("answer", "a", "b"), id="short"
        ),
        pytest.param(
            "question-answering", {"end_logits": lambda _: np.full((1, 8), np.nan)}, ("answer", "a", "b"), id="nan"
        ),
        pytest.param("fill-mask", {"token_ids": lambda _: np.zeros((1, 4, 3), int)}, ("fill_mask", "a"), id="top_k"),
        pytest.param("fill-mask", {"token_ids": lambda _: np.full((1, 4, 2), 99)}, ("fill_mask", "[MASK]"), id="token"),
    ],
)
def test_answers_that_do_not_fit(fakes: Any, task: str, change: Any, question: tuple[str, ...]) -> None:
    """An answer of another shape, or with tokens that do not exist, is an error, not a result."""
    method, *texts = question
    with pytest.raises((ServerError, InputError), match=r"answered|no token 99"):
        getattr(ask(fakes, task, **change), method)(*texts)
