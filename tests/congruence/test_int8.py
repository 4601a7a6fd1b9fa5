"""Bundles in int8, compared with float32: the F1 of a real tagger through the client, and real sentence vectors."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle import Client, Entity
from bertbundle._shared.cpu_features import fast_int8
from local_server import serving
from model_server import BINARY, model_server
from ner_data import Sentence, f1, read_sentences, spans, split_sentence
from optional import needs_openvino, skip_without

pytestmark = pytest.mark.slow

REAL = "tensorflow_model_server"
FORMATS = ("saved_model", "onnx") if fast_int8() else ("onnx",)
SENTENCES = ("A man is playing a guitar.", "Someone plays a musical instrument.", "The stock market fell today.")


@pytest.fixture(params=["onnx", pytest.param("openvino", marks=needs_openvino), "saved_model", REAL])
def runtime(request: pytest.FixtureRequest) -> str:
    """Return the name of a server that computes in int8: a runtime of the embedded server, or TensorFlow Serving."""
    name: str = request.param
    if name in ("saved_model", REAL) and fast_int8() is None:
        skip_without("a processor with int8 products")
    if name == REAL and not os.environ.get(BINARY):
        skip_without("a real TensorFlow Serving")
    return name


@pytest.fixture(scope="module")
def sentences(shared: Callable[[str], Path]) -> list[Sentence]:
    """ResumeNER's test set, with sentences over 126 characters split."""
    unsplit = read_sentences(shared("data/resume-ner/test.char.bmes"))
    return [piece for sentence in unsplit for piece in split_sentence(sentence, 126)]


@pytest.fixture(scope="module")
def float32(ner: Path, sentences: list[Sentence]) -> list[list[Entity]]:
    """Return the entities that the tagger finds in float32."""
    return answers(ner, "onnx", sentences)


@pytest.fixture(scope="session")
def ner_int8(models: Path, shared: Callable[[str], Path], tensorflow: Any) -> Path:
    """Export the same tagger in int8; return the version directory."""
    del tensorflow
    from bertbundle_export import export_bundle

    options: dict[str, Any] = {"characters": True, "formats": FORMATS, "precision": "int8", "lengths": (16, 32, 64)}
    return export_bundle(shared("models/resume-ner-3x128"), name="ner_int8", output=models, **options).path


@pytest.fixture(scope="session")
def minilm_int8(models: Path, tensorflow: Any) -> Path:
    """Export all-MiniLM-L6-v2 in int8; return the version directory."""
    del tensorflow
    from bertbundle_export import export_bundle
    from real_weights import fetch

    options: dict[str, Any] = {"max_length": 64, "lengths": (), "formats": FORMATS, "precision": "int8"}
    return export_bundle(fetch("all-MiniLM-L6-v2"), name="minilm_int8", output=models, **options).path


def serve(version: Path, runtime: str) -> contextlib.AbstractContextManager[str]:
    """Serve a version with a runtime of the embedded server, or with TensorFlow Serving."""
    base = version.parent
    if runtime == REAL:
        return model_server(base.name, model_base_path=base)
    return serving(runtime=runtime, model_name=base.name, model_base_path=base)


def answers(version: Path, runtime: str, sentences: Sequence[Sentence]) -> list[list[Entity]]:
    """Serve a version and return the entities of each sentence."""
    with serve(version, runtime) as address, Client(address, version.parent.name, timeout=300) as client:
        return [list(found) for found in client.entities(["".join(sentence.chars) for sentence in sentences])]


def labels(sentence: Sentence, entities: Sequence[Entity]) -> list[str]:
    """Return the label of each character, with B- for the first of an entity."""
    found = ["O"] * len(sentence.chars)
    for entity in entities:
        found[entity.start : entity.end] = [f"I-{entity.label}"] * (entity.end - entity.start)
        found[entity.start] = f"B-{entity.label}"
    return found


def test_int8_keeps_f1(runtime: str, ner_int8: Path, float32: list[list[Entity]], sentences: list[Sentence]) -> None:
    """In int8 a real tagger loses at most half a point of F1, and at least 99 % of its labels are equal."""
    int8 = answers(ner_int8, runtime, sentences)
    gold = [spans(sentence.labels) for sentence in sentences]
    scores = [
        f1(gold, [{(entity.label, entity.start, entity.end) for entity in entities} for entities in found])
        for found in (float32, int8)
    ]
    pairs = zip(sentences, float32, int8, strict=True)
    equal = [one == other for s, a, b in pairs for one, other in zip(labels(s, a), labels(s, b), strict=True)]
    print(f"{runtime}: F1 {scores[0]:.4f} in float32, {scores[1]:.4f} in int8, {np.mean(equal):.2%} of labels agree")
    assert scores[1] >= scores[0] - 0.005
    assert np.mean(equal) >= 0.99


@pytest.fixture(scope="module")
def vectors(minilm: Path) -> np.ndarray[Any, Any]:
    """Return the sentence vectors of the encoder in float32."""
    return embed(minilm, "onnx")


def test_int8_keeps_vectors(runtime: str, vectors: np.ndarray[Any, Any], minilm_int8: Path) -> None:
    """In int8 a real encoder's sentence vectors have a cosine of at least 0.99 with float32's, and rank the same."""
    int8 = embed(minilm_int8, runtime)
    cosines = (vectors * int8).sum(axis=1)
    print(f"{runtime}: cosines {cosines}")
    assert cosines.min() >= 0.99
    related, unrelated = int8[0] @ int8[1], int8[0] @ int8[2]
    assert related > 0.4 > 0.2 > unrelated


def embed(version: Path, runtime: str) -> np.ndarray[Any, Any]:
    """Serve a version and return the normalized vectors of a few sentences."""
    with serve(version, runtime) as address, Client(address, version.parent.name, timeout=300) as client:
        return client.embed(list(SENTENCES))
