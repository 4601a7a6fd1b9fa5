"""`client.pipeline()`, compared with transformers' own pipeline, with the same weights and the same tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bertbundle import Client
from bertbundle.pipelines.aggregation import STRATEGIES
from local_server import serving
from ner_data import read_sentences

pytestmark = pytest.mark.slow

COUNT = 250
"""Number of sentences per language: 500 in total, each with every strategy."""


@pytest.fixture(scope="module")
def chinese(ner_argmax: Path, shared: Callable[[str], Path]) -> Iterator[tuple[Any, Any, list[str]]]:
    """The Chinese tagger as transformers' pipeline and as the client's, and sentences."""
    sentences = ["".join(each.chars) for each in read_sentences(shared("data/resume-ner/test.char.bmes"))]
    with (
        serving(model_name="ner_argmax", model_base_path=ner_argmax.parent) as address,
        Client(address, "ner_argmax") as client,
    ):
        yield (
            reference(ner_argmax, shared("models/resume-ner-3x128")),
            client.pipeline("ner"),
            sentences,
        )


@pytest.fixture(scope="module")
def english(rampart: Path, shared: Callable[[str], Path]) -> Iterator[tuple[Any, Any, list[str]]]:
    """The English tagger as transformers' pipeline and as the client's, and sentences."""
    from real_weights import fetch

    words: list[list[str]] = [[]]
    for line in shared("data/wnut17/test.conll").read_text(encoding="utf-8").splitlines():
        if line.strip():
            words[-1].append(line.split("\t")[0])
        else:
            words.append([])
    sentences = [" ".join(each) for each in words if each]
    with serving(model_name="rampart", model_base_path=rampart.parent) as address, Client(address, "rampart") as client:
        yield reference(rampart, fetch("rampart")), client.pipeline("ner"), sentences


def reference(bundle: Path, source: Path) -> Any:
    """Return transformers' pipeline of a checkpoint, with the tokenizer of its bundle."""
    from bertbundle_export.checkpoints import LoadOptions, load_checkpoint
    from bertbundle_export.tensorflow_import import tf, transformers

    model = load_checkpoint(source, "reference", LoadOptions()).keras
    model.call = tf.function(
        model.call, autograph=False, reduce_retracing=True
    )  # eagerly, it takes several times as long
    labels = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))["labels"]
    model.config.id2label = dict(enumerate(labels))
    special = {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]"}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(bundle / "tokenizer.json"), **special)
    return transformers.TokenClassificationPipeline(model=model, tokenizer=tokenizer, framework="tf")


def compare(pair: tuple[Any, Any, list[str]]) -> int:
    """Compare the results of both pipelines for every sentence and strategy; return the number of dicts compared."""
    theirs, ours, texts = pair
    longest = ours._client.manifest().max_length  # beyond it, the client splits into windows
    sentences = [text for text in texts if len(theirs.tokenizer(text).input_ids) <= longest][:COUNT]
    assert len(sentences) == COUNT
    outputs = {
        text: [theirs.forward(item) for item in theirs.preprocess(text, **theirs._preprocess_params)]
        for text in sentences
    }
    compared = 0
    for strategy in STRATEGIES:
        answers = ours(sentences, aggregation_strategy=strategy)
        for text, answer in zip(sentences, answers, strict=True):
            expected = theirs.postprocess(
                outputs[text], aggregation_strategy=transformers_strategy(strategy), ignore_labels=["O"]
            )
            assert [list(each) for each in answer] == [list(each) for each in expected], text
            for got, reference in zip(answer, expected, strict=True):
                assert got == {**reference, "score": pytest.approx(float(reference["score"]), abs=2e-5)}, text
            compared += len(answer)
    return compared


def transformers_strategy(name: str) -> Any:
    """Return transformers' enum member for a strategy."""
    from transformers.pipelines.token_classification import AggregationStrategy

    return AggregationStrategy(name)


def test_chinese(chinese: tuple[Any, Any, list[str]]) -> None:
    """For 250 Chinese sentences every strategy gives transformers' dicts: keys, order, words, offsets, scores."""
    assert compare(chinese) > COUNT


def test_english(english: tuple[Any, Any, list[str]]) -> None:
    """For 250 English sentences, with word pieces, every strategy gives transformers' dicts."""
    assert compare(english) > COUNT
