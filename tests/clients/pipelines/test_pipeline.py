"""What `client.pipeline()` makes of options; its answers are held against transformers' in tests/congruence."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bertbundle import AsyncClient, Client, InputError


def pipeline(fakes: Any, task: str, **options: Any) -> Any:
    """Return a pipeline over a model of a task."""
    return client(fakes, task).pipeline(task, **options)


def client(fakes: Any, task: str) -> Client:
    """Return a client of a model of a task."""
    return Client("nowhere:1", "tiny", transport=fakes.FakeTransport(fakes.Model(fakes.make_manifest(task))))


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        pytest.param("text-classification", {"max_length": 9}, "chosen when it was exported", id="max_length"),
        pytest.param("text-classification", {"return_all_scores": True}, "use top_k=None", id="return_all_scores"),
        pytest.param(
            "text-classification", {"function_to_apply": "tanh"}, "sigmoid, softmax, none, got", id="function"
        ),
        pytest.param("token-classification", {"grouped_entities": True}, "use aggregation_strategy", id="grouped"),
        pytest.param("token-classification", {"aggregation_strategy": "best"}, "none, simple, first", id="strategy"),
        pytest.param("token-classification", {"delimiter": "-"}, "always joined by single spaces", id="delimiter"),
        pytest.param("question-answering", {"max_seq_len": 9}, "chosen when it was exported", id="max_seq_len"),
        pytest.param("question-answering", {"max_question_len": 9}, "never truncated: shorten it", id="question"),
        pytest.param("question-answering", {"max_answer_len": 0}, "max_answer_len must be at least 1", id="answer_len"),
        pytest.param("text-classification", {"top_k": 0}, "top_k must be at least 1", id="classes"),
        pytest.param("question-answering", {"top_k": 0}, "top_k must be at least 1", id="top_k"),
        pytest.param("fill-mask", {"targets": []}, "at least one token", id="targets"),
    ],
)
def test_refused_options(fakes: Any, task: str, options: dict[str, Any], message: str) -> None:
    """An option that a served bundle cannot honour is refused, when the pipeline is made and when it is asked."""
    with pytest.raises(ValueError, match=message):
        pipeline(fakes, task, **options)
    with pytest.raises(ValueError, match=message):
        pipeline(fakes, task)("wang", **options)


@pytest.mark.parametrize(
    ("question", "context", "message"),
    [
        pytest.param(["a", "b"], ["c"], "2 questions need the same number of contexts, or one, got 1", id="contexts"),
        pytest.param({"query": "a"}, None, "a dict needs text .* or question and context, got query", id="dict"),
    ],
)
def test_questions_that_do_not_fit(fakes: Any, question: Any, context: Any, message: str) -> None:
    """Questions without contexts, and a dict without texts, are errors that say what is needed."""
    pipe = pipeline(fakes, "question-answering")
    with pytest.raises((TypeError, ValueError), match=message):
        pipe(question) if context is None else pipe(question=question, context=context)


def test_questions_of_one_context(fakes: Any) -> None:
    """Questions share their context where only one is given, as in transformers' pipeline."""
    pipe = pipeline(fakes, "question-answering")
    one = pipe(question="wang", context="lives in Berlin")
    assert pipe(question=["wang", "wang"], context="lives in Berlin") == [one, one]


def test_unknown_options(fakes: Any) -> None:
    """An option that there is not is a TypeError that names those there are."""
    with pytest.raises(TypeError, match="no option 'topp_k', expected one of top_k, targets"):
        pipeline(fakes, "fill-mask", topp_k=3)
    with pytest.raises(ValueError, match="no pipeline for 'summarization', expected one of token-classification"):
        client(fakes, "fill-mask").pipeline("summarization")


def test_options_that_change_no_answer(fakes: Any) -> None:
    """Batch sizes, workers and padding, of the call or of the tokenizer, are taken and change nothing."""
    plain = pipeline(fakes, "text-classification")
    usual = {"batch_size": 8, "num_workers": 2, "padding": True, "truncation": True}
    assert plain(["wang", "in"], **usual) == plain(["wang", "in"])
    assert (
        pipeline(fakes, "fill-mask", tokenizer_kwargs={"truncation": True})("[MASK]")[0]["token"]
        == fakes.VOCABULARY["wang"]
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"top_k": 3}, r"top_k is 3, but the model returns only the best 2 .*--top-k", id="top_k"),
        pytest.param(
            {"targets": ["wang", "berlin"]}, "targets has 'berlin', but the model returns only", id="not-offered"
        ),
        pytest.param({"targets": ["\u200b"]}, "has no tokens", id="no-token"),
    ],
)
def test_tokens_that_are_not_offered(fakes: Any, options: dict[str, Any], message: str) -> None:
    """What the bundle did not offer has no score here: the message says how it would."""
    with pytest.raises(InputError, match=message):
        pipeline(fakes, "fill-mask", **options)("[MASK] lives")


def test_inputs(fakes: Any) -> None:
    """Questions come as arguments, as dicts, in lists, and from iterators; each has the same answer."""
    ask = pipeline(fakes, "question-answering")
    item = {"question": "wang", "context": "in Berlin"}
    answer = ask(**item)
    assert answer["answer"] == "Berlin"
    assert ask(item) == ask([item]) == ask(question=["wang"], context=["in Berlin"]) == answer
    assert ask([item, item]) == list(ask(iter([item, item]))) == [answer, answer]
    single = pipeline(fakes, "text-classification")
    assert single([{"text": "wang"}]) == single(["wang"])


def test_awaited(fakes: Any) -> None:
    """Of an awaiting client the answers are to be awaited."""
    transport = fakes.FakeAsyncTransport(fakes.Model(fakes.make_manifest("fill-mask")))

    async def ask() -> Any:
        async with AsyncClient("", "tiny", transport=transport) as client:
            return await client.pipeline("fill-mask", targets="lives")("[MASK] in")

    assert asyncio.run(ask())[0]["token"] == fakes.VOCABULARY["lives"]


def test_long_texts_are_answered_whole(fakes: Any) -> None:
    """A text of several windows has the entities of all of them, also from logits."""
    answer = client(fakes, "token-classification").pipeline("ner", aggregation_strategy="simple")
    assert [entity["word"] for entity in answer("Wang lives in Berlin " * 8)] == ["wang", "berlin"] * 8
