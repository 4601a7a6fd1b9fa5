"""The pipelines beside token classification, against transformers' own over the same tiny checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bertbundle import Client
from bertbundle_export.texts import PARITY_TEXTS
from tiny_checkpoints import write_checkpoint

pytestmark = pytest.mark.slow

TEXTS = [text for text in PARITY_TEXTS if 0 < len(text) < 25]
"""Short enough for 48 tokens of single characters, special tokens included."""

Pair = tuple[Any, Any]


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory, tensorflow: Any) -> Callable[..., Pair]:
    """Give transformers' pipeline of a task, and the client's over a bundle of the same random weights."""
    del tensorflow
    folder = tmp_path_factory.mktemp("pipelines")
    made: dict[str, tuple[Any, Any, Client]] = {}

    def make(task: str, **options: Any) -> Pair:
        if task not in made:
            made[task] = _make(folder / task, task)
        model, tokenizer, client = made[task]
        from bertbundle_export.quiet import transformers

        theirs = transformers.pipeline(task, model=model, tokenizer=tokenizer, framework="tf", **options)
        return theirs, client.pipeline(task, **options)

    return make


ARCHITECTURES = {
    "text-classification": "BertForSequenceClassification",
    "question-answering": "BertForQuestionAnswering",
    "fill-mask": "BertForMaskedLM",
    "feature-extraction": "BertModel",
}
SPECIAL = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}


def _make(path: Path, task: str) -> tuple[Any, Any, Client]:
    from bertbundle_export import export_bundle
    from bertbundle_export.quiet import transformers

    labels = ("start", "end") if task == "question-answering" else ("no", "perhaps", "yes")
    source = write_checkpoint(path / "source", ARCHITECTURES[task], labels=labels)
    bundle = export_bundle(source, name="tiny", output=path, formats=("onnx",)).path
    model = getattr(transformers, f"TF{ARCHITECTURES[task]}").from_pretrained(source)
    tokenizer = transformers.BertTokenizerFast(tokenizer_file=str(bundle / "tokenizer.json"), **SPECIAL)
    return model, tokenizer, Client.local(bundle)


def close(value: Any) -> Any:
    """Return a value with its floats, at any depth, as approximations to 2e-5."""
    if isinstance(value, dict):
        return {key: close(each) for key, each in value.items()}
    if isinstance(value, list):
        return [close(each) for each in value]
    return pytest.approx(value, abs=2e-5) if isinstance(value, float) else value


@pytest.mark.parametrize("made", [{}, {"top_k": None}, {"top_k": 2}], ids=["made-plain", "made-all", "made-two"])
@pytest.mark.parametrize("asked", [{}, {"top_k": None}, {"top_k": 1}], ids=["plain", "all", "one"])
def test_text_classification(pipelines: Callable[..., Pair], made: dict[str, Any], asked: dict[str, Any]) -> None:
    """Texts, lists and pairs give the same labels and scores, nested alike, wherever `top_k` is said."""
    theirs, ours = pipelines("text-classification", **made)
    pair = {"text": TEXTS[0][:10], "text_pair": TEXTS[1][:10]}
    for inputs in (TEXTS[0], TEXTS[:8], pair, [pair, pair]):
        assert ours(inputs, **asked) == close(theirs(inputs, **asked)), inputs


def test_feature_extraction(pipelines: Callable[..., Pair]) -> None:
    """Each text gives ``[1, tokens, hidden]`` in nested lists, special tokens included and no padding."""
    theirs, ours = pipelines("feature-extraction")
    for inputs in (TEXTS[0], TEXTS[:8]):
        assert ours(inputs) == close(theirs(inputs))


def test_fill_mask(pipelines: Callable[..., Pair]) -> None:
    """Tokens, their spelling and scores are the same, for one mask and for several; `sequence` is our own."""
    theirs, ours = pipelines("fill-mask")

    def without_sequence(value: Any) -> Any:
        if isinstance(value, list):
            return [without_sequence(each) for each in value]
        return {key: each for key, each in value.items() if key != "sequence"}

    for text in ("a [MASK] b", "[MASK] a b", "a [MASK] b [MASK]"):
        for options in ({}, {"top_k": 3}):
            got, expected = ours(text, **options), theirs(text, **options)
            assert without_sequence(got) == close(without_sequence(expected)), text
    assert ours("a [MASK] b")[0]["sequence"] == f"a {theirs('a [MASK] b')[0]['token_str']} b"


@pytest.mark.parametrize("options", [{}, {"top_k": 3}], ids=["best", "three"])
def test_question_answering(pipelines: Callable[..., Pair], options: dict[str, Any]) -> None:
    """The same spans of the context, and the same scores: [CLS] has its share, and what reads the same adds up."""
    theirs, ours = pipelines("question-answering")
    for context in (*TEXTS, "aa bb aa b"):
        got, expected = (each(question="a b?", context=context, **options) for each in (ours, theirs))
        if isinstance(expected, list):  # transformers' fills up with spans from [CLS], of score 0
            got, expected = got if isinstance(got, list) else [got], [each for each in expected if each["score"] > 0]
        assert got == close(expected), context
