"""Options and inputs of `client.pipeline()`; tests/congruence compares its results with those of transformers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bertbundle import AsyncClient, Client, InputError
from fakes import VOCABULARY, FakeAsyncTransport, FakeTransport, Model, connect, make_manifest


def make_client(task: str) -> Client:
    """Return a client of a model for a task."""
    return connect(FakeTransport(Model(make_manifest(task))))


def make_pipeline(task: str, **options: Any) -> Any:
    """Return a pipeline over a model for a task."""
    return make_client(task).pipeline(task, **options)


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
def test_unsupported_options(task: str, options: dict[str, Any], message: str) -> None:
    """An unsupported option raises ValueError, both when the pipeline is created and when it is called."""
    with pytest.raises(ValueError, match=message):
        make_pipeline(task, **options)
    with pytest.raises(ValueError, match=message):
        make_pipeline(task)("wang", **options)


@pytest.mark.parametrize(
    ("question", "context", "message"),
    [
        pytest.param(["a", "b"], ["c"], "2 questions need the same number of contexts, or one, got 1", id="contexts"),
        pytest.param({"query": "a"}, None, "a dict needs text .* or question and context, got query", id="dict"),
    ],
)
def test_invalid_questions(question: Any, context: Any, message: str) -> None:
    """Questions without contexts, and a dict without texts, raise an error that says what to pass."""
    pipe = make_pipeline("question-answering")
    with pytest.raises((TypeError, ValueError), match=message):
        pipe(question) if context is None else pipe(question=question, context=context)


def test_questions_with_one_context() -> None:
    """Several questions may share one context, as in transformers' pipeline."""
    pipe = make_pipeline("question-answering")
    one = pipe(question="wang", context="lives in Berlin")
    assert pipe(question=["wang", "wang"], context="lives in Berlin") == [one, one]


def test_unknown_options() -> None:
    """An unknown option or pipeline raises an error that lists the known ones."""
    with pytest.raises(TypeError, match="no option 'topp_k', expected one of top_k, targets"):
        make_pipeline("fill-mask", topp_k=3)
    with pytest.raises(ValueError, match="no pipeline for 'summarization', expected one of token-classification"):
        make_client("fill-mask").pipeline("summarization")


def test_options_without_effect() -> None:
    """Options for batch size, workers, padding and truncation are accepted and do not change the results."""
    plain = make_pipeline("text-classification")
    options = {"batch_size": 8, "num_workers": 2, "padding": True, "truncation": True}
    assert plain(["wang", "in"], **options) == plain(["wang", "in"])
    assert make_pipeline("fill-mask", tokenizer_kwargs={"truncation": True})("[MASK]")[0]["token"] == VOCABULARY["wang"]


def test_inputs() -> None:
    """Questions may be arguments, dicts, lists or iterators, with the same results."""
    ask = make_pipeline("question-answering")
    item = {"question": "wang", "context": "in Berlin"}
    answer = ask(**item)
    assert answer["answer"] == "Berlin"
    assert ask(item) == ask([item]) == ask(question=["wang"], context=["in Berlin"]) == answer
    assert ask([item, item]) == list(ask(iter([item, item]))) == [answer, answer]
    single = make_pipeline("text-classification")
    assert single([{"text": "wang"}]) == single(["wang"])


def test_async_client() -> None:
    """A pipeline of an async client returns coroutines."""
    transport = FakeAsyncTransport(Model(make_manifest("fill-mask")))

    async def main() -> Any:
        async with AsyncClient("", "tiny", transport=transport) as client:
            return await client.pipeline("fill-mask", targets="lives")("[MASK] in")

    assert asyncio.run(main())[0]["token"] == VOCABULARY["lives"]


def test_long_texts() -> None:
    """The entities of a long text are those of all of its windows."""
    answer = make_client("token-classification").pipeline("ner", aggregation_strategy="simple")
    assert [entity["word"] for entity in answer("Wang lives in Berlin " * 8)] == ["wang", "berlin"] * 8


def test_one_of_several_heads() -> None:
    """A pipeline uses the only head for its task, or the one that `head` names; without a task it is unclear."""
    client = make_client("multi-task")
    single = make_client("token-classification").pipeline("ner", aggregation_strategy="simple")
    assert client.pipeline("ner", aggregation_strategy="simple")("Wang lives") == single("Wang lives")
    assert client.pipeline("ner", head="slots")("Wang")[0]["entity"] == "B-PER"
    assert client.pipeline("text-classification")("wang")[0]["label"] == "perhaps"
    with pytest.raises(InputError, match="has the head 'intent' for text-classification"):
        client.pipeline("ner", head="intent")("Wang")
    with pytest.raises(ValueError, match="the model has several heads: name the task"):
        client.pipeline()
