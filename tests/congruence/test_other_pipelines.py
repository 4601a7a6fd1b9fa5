"""The pipelines other than token classification, compared with those of transformers on the same tiny checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle import Client
from bertbundle_export.job.texts import PARITY_TEXTS
from optional import TORCH_MARKS
from tiny_checkpoints import LABELS, vocabulary, write_checkpoint

pytestmark = [pytest.mark.slow, *TORCH_MARKS]  # without torch, transformers.pipeline fails with a NameError

TEXTS = [text for text in PARITY_TEXTS if 0 < len(text) < 25]
"""Texts of at most 48 tokens, each of a single character, including special tokens."""

Pair = tuple[Any, Any]


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory, tensorflow: Any) -> Callable[..., Pair]:
    """Return a function that makes transformers' pipeline of a task, and the client's with the same random weights."""
    del tensorflow
    folder = tmp_path_factory.mktemp("pipelines")
    made: dict[str, tuple[Any, Any, Client]] = {}

    def make(task: str, **options: Any) -> Pair:
        if task not in made:
            made[task] = _make(folder / task, task)
        model, tokenizer, client = made[task]
        from bertbundle_export.tensorflow_import import transformers

        theirs = transformers.pipeline(task, model=model, tokenizer=tokenizer, framework="tf", **options)
        return theirs, client.pipeline(task, **options)

    return make


ARCHITECTURES = {
    "text-classification": "BertForSequenceClassification",
    "question-answering": "BertForQuestionAnswering",
    "fill-mask": "BertForMaskedLM",
    "feature-extraction": "BertModel",
    "token-classification": "BertForTokenClassification",
}
VOCABULARY = len(vocabulary())
LABELS_OF = {"question-answering": ("start", "end"), "token-classification": LABELS}
SPECIAL = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}


def _make(path: Path, task: str) -> tuple[Any, Any, Client]:
    from bertbundle_export import export_bundle
    from bertbundle_export.tensorflow_import import transformers

    labels = LABELS_OF.get(task, ("no", "perhaps", "yes"))
    source = write_checkpoint(path / "source", ARCHITECTURES[task], labels=labels)
    top_k: dict[str, Any] = {"top_k": VOCABULARY} if task == "fill-mask" else {}
    bundle = export_bundle(source, name="tiny", output=path, formats=("onnx",), **top_k).path
    model = getattr(transformers, f"TF{ARCHITECTURES[task]}").from_pretrained(source)
    tokenizer = transformers.BertTokenizerFast(tokenizer_file=str(bundle / "tokenizer.json"), **SPECIAL)
    return model, tokenizer, Client.local(bundle)


def close(value: Any) -> Any:
    """Replace the floats in a nested value by approximate values, with a tolerance of 2e-5."""
    if isinstance(value, dict):
        return {key: close(each) for key, each in value.items()}
    if isinstance(value, list):
        return [close(each) for each in value]
    return pytest.approx(value, abs=2e-5) if isinstance(value, float) else value


@pytest.mark.parametrize("defaults", [{}, {"top_k": None}, {"top_k": 2}], ids=["no-default", "all", "two"])
@pytest.mark.parametrize("options", [{}, {"top_k": None}, {"top_k": 1}], ids=["no-option", "all", "one"])
def test_text_classification(pipelines: Callable[..., Pair], defaults: dict[str, Any], options: dict[str, Any]) -> None:
    """Texts, lists and pairs give equal labels and scores in equal nesting, wherever `top_k` is passed."""
    theirs, ours = pipelines("text-classification", **defaults)
    pair = {"text": TEXTS[0][:10], "text_pair": TEXTS[1][:10]}
    for inputs in (TEXTS[0], TEXTS[:8], pair, [pair, pair]):
        assert ours(inputs, **options) == close(theirs(inputs, **options)), inputs


@pytest.mark.parametrize("function", ["sigmoid", "softmax", "none", "NONE"])
@pytest.mark.parametrize("top_k", [{}, {"top_k": None}], ids=["best", "all"])
def test_function_to_apply(pipelines: Callable[..., Pair], function: str, top_k: dict[str, Any]) -> None:
    """The scores are those of the named function, in upper or lower case."""
    theirs, ours = pipelines("text-classification", function_to_apply=function)
    for inputs in (TEXTS[0], TEXTS[:4]):
        assert ours(inputs, **top_k) == close(theirs(inputs, **top_k))
    theirs, ours = pipelines("text-classification")
    assert ours(TEXTS[0], function_to_apply=function, batch_size=8) == close(
        theirs(TEXTS[0], function_to_apply=function, batch_size=8)
    )


def test_feature_extraction(pipelines: Callable[..., Pair]) -> None:
    """Each text gives ``[1, tokens, hidden]`` as nested lists, with special tokens and without padding."""
    theirs, ours = pipelines("feature-extraction")
    for inputs in (TEXTS[0], TEXTS[:8]):
        assert ours(inputs) == close(theirs(inputs))
    got, expected = (each(TEXTS[0], return_tensors=True) for each in (ours, theirs))
    np.testing.assert_allclose(got, expected.numpy(), atol=2e-5)


def test_words(pipelines: Callable[..., Pair]) -> None:
    """Lists of words give equal dicts, with offsets into the words joined by spaces; one list is a list of one text."""
    theirs, ours = pipelines("token-classification", aggregation_strategy="SIMPLE")
    words = [text.split() for text in TEXTS[:8]]
    assert ours(words, is_split_into_words=True) == close(as_floats(theirs(words, is_split_into_words=True)))
    assert ours(words[0], is_split_into_words=True) == close(as_floats(theirs(words[0], is_split_into_words=True)))


def as_floats(value: Any) -> Any:
    """Convert numpy's floats in dicts to Python's."""
    if isinstance(value, list):
        return [as_floats(each) for each in value]
    return {key: float(each) if key == "score" else each for key, each in value.items()}


def test_fill_mask(pipelines: Callable[..., Pair]) -> None:
    """Token ids, tokens and scores are equal for one or several masks; `sequence` differs, as documented."""
    theirs, ours = pipelines("fill-mask")

    def without_sequence(value: Any) -> Any:
        if isinstance(value, list):
            return [without_sequence(each) for each in value]
        return {key: each for key, each in value.items() if key != "sequence"}

    for text in ("a [MASK] b", "[MASK] a b", "a [MASK] b [MASK]"):
        for options in ({}, {"top_k": 3}, {"top_k": VOCABULARY}):
            got, expected = ours(text, **options), theirs(text, **options)
            assert without_sequence(got) == close(without_sequence(expected)), text
    assert ours("a [MASK] b")[0]["sequence"] == f"a {theirs('a [MASK] b')[0]['token_str']} b"


@pytest.mark.parametrize("targets", ["a", ["a", "b"], ["a", "b", "a", "##a"], ["ab", "b"]], ids=str)
@pytest.mark.parametrize("options", [{}, {"top_k": 1}], ids=["all", "one"])
def test_targets(pipelines: Callable[..., Pair], targets: Any, options: dict[str, Any]) -> None:
    """Only the targets are returned, with their scores among all tokens; for a target of several tokens, the first."""
    theirs, ours = pipelines("fill-mask")
    got, expected = (each("a [MASK] b", targets=targets, **options) for each in (ours, theirs))
    keys = ("score", "token", "token_str")
    assert [{key: each[key] for key in keys} for each in got] == close(
        [{key: each[key] for key in keys} for each in expected]
    )


def test_a_list_of_one(pipelines: Callable[..., Pair]) -> None:
    """Where transformers returns one result for a list of one, so does the client."""
    theirs, ours = pipelines("fill-mask")
    assert type(ours(["a [MASK] b"])[0]) is type(theirs(["a [MASK] b"])[0])
    theirs, ours = pipelines("question-answering")
    assert ours(question=["a b?"], context=[TEXTS[0]]) == close(theirs(question=["a b?"], context=[TEXTS[0]]))


ANSWERING = {
    "best": {},
    "three": {"top_k": 3},
    "short": {"max_answer_len": 2},
    "one-token": {"max_answer_len": 1, "top_k": 2},
    "impossible": {"handle_impossible_answer": True},
    "impossible-three": {"handle_impossible_answer": True, "top_k": 3},
    "tokens": {"align_to_words": False, "top_k": 2},
}


@pytest.mark.parametrize("options", [pytest.param(each, id=name) for name, each in ANSWERING.items()])
def test_question_answering(pipelines: Callable[..., Pair], options: dict[str, Any]) -> None:
    """Spans and scores are equal: [CLS] is included, and the scores of spans with equal text are added."""
    theirs, ours = pipelines("question-answering")
    for context in (*TEXTS, "aa bb aa b"):
        got, expected = (each(question="a b?", context=context, **options) for each in (ours, theirs))
        if isinstance(expected, list):  # transformers also returns spans that start at [CLS], with a score of 0
            got, expected = got if isinstance(got, list) else [got], [each for each in expected if each["score"] > 0]
        assert got == close(expected), context
