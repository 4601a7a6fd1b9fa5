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
    starts, ends = (np.exp([row[0], *row[3:7]]) / np.exp([row[0], *row[3:7]]).sum() for row in logits.values())
    answer = client.answer("in", "a b c e")
    assert answer == Answer("c e", 4, 7, answer.score, answer.null_score)
    assert answer.score == pytest.approx(starts[3] * ends[4])
    assert answer.null_score == pytest.approx(starts[0] * ends[0])
    assert client.answer("in", "a b c e", max_answer_len=1).text == "b"
    with pytest.raises(ValueError, match="max_answer_len must be at least 1, got 0"):
        client.answer("in", "a b", max_answer_len=0)


@pytest.fixture
def unsure(fakes: Any) -> Client:
    """Give a client of a model that finds "berlin" and "today", and no answer in what holds neither."""

    def with_null(logits: Any) -> Any:
        def logits_with_null(inputs: Any) -> Any:
            values = logits(inputs)
            values[:, 0] = np.where((values > 5).any(axis=1), -9.0, 9.0)
            return values

        return logits_with_null

    logits = {"start_logits": fakes._start_logits, "end_logits": fakes._end_logits}
    return ask(fakes, "question-answering", **{name: with_null(each) for name, each in logits.items()})


@pytest.mark.parametrize("filler", ["a ", "a " * 40], ids=["one-window", "windows"])
def test_no_answer(unsure: Client, filler: str) -> None:
    """Asked for, "no answer" is one; of windows it is only if none of them has an answer."""
    nothing = unsure.answer("wang", filler, handle_impossible_answer=True)
    assert nothing == Answer("", 0, 0, nothing.score, nothing.score)
    assert nothing.score > 0.9
    assert unsure.answer("wang", filler).text == "a"
    assert unsure.answer("wang", filler).null_score == nothing.score
    there = unsure.answer("wang", f"{filler}Berlin {filler}", handle_impossible_answer=True)
    assert (there.text, there.null_score < 1e-6) == ("Berlin", True)


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
    with pytest.raises(InputError, match=r"top_k is 3, but the model returns only the best 2 .*--top-k"):
        client.fill_mask(text, top_k=3)


@pytest.mark.parametrize(
    ("task", "method", "texts", "message"),
    [
        pytest.param(
            "fill-mask", "fill_mask", [("a", "b")], r"fill_mask\(\) takes a text or .*, got a pair", id="fill_mask"
        ),
        pytest.param(
            "token-classification",
            "entities",
            [("a", "b")],
            r"entities\(\) takes a text or .*, got a pair",
            id="entities",
        ),
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
    with pytest.raises((ServerError, InputError), match=r"answered|no token with id 99"):
        getattr(ask(fakes, task, **change), method)(*texts)
