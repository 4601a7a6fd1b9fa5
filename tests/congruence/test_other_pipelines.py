"""The pipelines other than token classification, compared with transformers' own, with the same tiny checkpoints."""

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
"""Short enough for 48 tokens of single characters, including special tokens."""

Pair = tuple[Any, Any]


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory, tensorflow: Any) -> Callable[..., Pair]:
    """A function that returns transformers' pipeline of a task, and the client's, with the same random weights."""
    del tensorflow
    directory = tmp_path_factory.mktemp("pipelines")
    cache: dict[str, tuple[Any, Any, Client]] = {}

    def make(task: str, **options: Any) -> Pair:
        if task not in cache:
            cache[task] = _make(directory / task, task)
        model, tokenizer, client = cache[task]
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


def approximate(value: Any) -> Any:
    """Replace the floats in a nested value with pytest.approx, to 2e-5."""
    if isinstance(value, dict):
        return {key: approximate(each) for key, each in value.items()}
    if isinstance(value, list):
        return [approximate(each) for each in value]
    return pytest.approx(value, abs=2e-5) if isinstance(value, float) else value


@pytest.mark.parametrize("created", [{}, {"top_k": None}, {"top_k": 2}], ids=["created", "created-all", "created-two"])
@pytest.mark.parametrize("called", [{}, {"top_k": None}, {"top_k": 1}], ids=["called", "called-all", "called-one"])
def test_text_classification(pipelines: Callable[..., Pair], created: dict[str, Any], called: dict[str, Any]) -> None:
    """Texts, lists and pairs give equal labels and scores, equally nested, with `top_k` at creation or in the call."""
    theirs, ours = pipelines("text-classification", **created)
    pair = {"text": TEXTS[0][:10], "text_pair": TEXTS[1][:10]}
    for inputs in (TEXTS[0], TEXTS[:8], pair, [pair, pair]):
        assert ours(inputs, **called) == approximate(theirs(inputs, **called)), inputs


@pytest.mark.parametrize("function", ["sigmoid", "softmax", "none", "NONE"])
@pytest.mark.parametrize("top_k", [{}, {"top_k": None}], ids=["best", "all"])
def test_function_to_apply(pipelines: Callable[..., Pair], function: str, top_k: dict[str, Any]) -> None:
    """The scores are those of the named function, in upper or lower case."""
    theirs, ours = pipelines("text-classification", function_to_apply=function)
    for inputs in (TEXTS[0], TEXTS[:4]):
        assert ours(inputs, **top_k) == approximate(theirs(inputs, **top_k))
    theirs, ours = pipelines("text-classification")
    assert ours(TEXTS[0], function_to_apply=function, batch_size=8) == approximate(
        theirs(TEXTS[0], function_to_apply=function, batch_size=8)
    )


def test_feature_extraction(pipelines: Callable[..., Pair]) -> None:
    """Each text gives ``[1, tokens, hidden]`` as nested lists, with special tokens and without padding."""
    theirs, ours = pipelines("feature-extraction")
    for inputs in (TEXTS[0], TEXTS[:8]):
        assert ours(inputs) == approximate(theirs(inputs))
    got, expected = (each(TEXTS[0], return_tensors=True) for each in (ours, theirs))
    np.testing.assert_allclose(got, expected.numpy(), atol=2e-5)


def test_words(pipelines: Callable[..., Pair]) -> None:
    """Lists of words give equal dicts, with offsets into the words joined by spaces; a flat list is one text."""
    theirs, ours = pipelines("token-classification", aggregation_strategy="SIMPLE")
    words = [text.split() for text in TEXTS[:8]]
    assert ours(words, is_split_into_words=True) == approximate(as_floats(theirs(words, is_split_into_words=True)))
    assert ours(words[0], is_split_into_words=True) == approximate(
        as_floats(theirs(words[0], is_split_into_words=True))
    )


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
            assert without_sequence(got) == approximate(without_sequence(expected)), text
    assert ours("a [MASK] b")[0]["sequence"] == f"a {theirs('a [MASK] b')[0]['token_str']} b"


@pytest.mark.parametrize("targets", ["a", ["a", "b"], ["a", "b", "a", "##a"], ["ab", "b"]], ids=str)
@pytest.mark.parametrize("options", [{}, {"top_k": 1}], ids=["all", "one"])
def test_targets(pipelines: Callable[..., Pair], targets: Any, options: dict[str, Any]) -> None:
    """Only the targets are returned, with their scores among all tokens; a target of several tokens is its first."""
    theirs, ours = pipelines("fill-mask")
    got, expected = (each("a [MASK] b", targets=targets, **options) for each in (ours, theirs))
    keys = ("score", "token", "token_str")
    assert [{key: each[key] for key in keys} for each in got] == approximate(
        [{key: each[key] for key in keys} for each in expected]
    )


def test_list_of_one(pipelines: Callable[..., Pair]) -> None:
    """If transformers returns a single result for a list of one, so does the client."""
    theirs, ours = pipelines("fill-mask")
    assert type(ours(["a [MASK] b"])[0]) is type(theirs(["a [MASK] b"])[0])
    theirs, ours = pipelines("question-answering")
    assert ours(question=["a b?"], context=[TEXTS[0]]) == approximate(theirs(question=["a b?"], context=[TEXTS[0]]))


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
    """Spans and scores are equal: [CLS] takes part in the softmax, and scores of spans with equal text are added."""
    theirs, ours = pipelines("question-answering")
    for context in (*TEXTS, "aa bb aa b"):
        got, expected = (each(question="a b?", context=context, **options) for each in (ours, theirs))
        if isinstance(expected, list):  # transformers' list is filled up with spans that start at [CLS], with score 0
            got, expected = got if isinstance(got, list) else [got], [each for each in expected if each["score"] > 0]
        assert got == approximate(expected), context
