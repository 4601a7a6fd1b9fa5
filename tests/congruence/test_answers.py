"""Results of models with real weights, through the client, from every server."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle import Client, GrpcTransport, Manifest, PredictCall
from bertbundle.text.features import pad_encodings
from bertbundle.text.tokenizer import Tokenizer
from bertbundle_export.checkpoints import LoadOptions, load_checkpoint
from bertbundle_export.source.model import SourceModel, run_source
from bertbundle_export.tasks.viterbi import constraint_tables, viterbi_reference
from ner_data import Sentence, f1, read_sentences, spans, split_sentence
from score_chinese_ner import served_f1

pytestmark = pytest.mark.slow

Serve = Callable[[Path], str]
GOLDEN = json.loads((Path(__file__).parent / "minilm_golden.json").read_text(encoding="utf-8"))


# ---- Chinese NER: the whole ResumeNER test set


@pytest.fixture(scope="session")
def sentences(shared: Callable[[str], Path]) -> list[Sentence]:
    """The test set; sentences over 126 characters are split after punctuation, for model and client."""
    whole = read_sentences(shared("data/resume-ner/test.char.bmes"))
    return [piece for sentence in whole for piece in split_sentence(sentence, 126)]


@pytest.fixture(scope="session")  # those of a module are made again for every server
def keras_f1(shared: Callable[[str], Path], sentences: list[Sentence]) -> Callable[[str], float]:
    """Return a function that computes the F1 of the Keras model itself, decoded in numpy, without a server."""
    source = load_checkpoint(shared("models/resume-ner-3x128"), "ner", LoadOptions())
    logits = source_logits(source, sentences)
    decoders: dict[str, Callable[[Any], Any]] = {
        "argmax": lambda row: row.argmax(axis=-1),
        "viterbi": lambda row: viterbi_reference(row, *constraint_tables(source.labels)),
    }

    def score(decoding: str) -> float:
        labels = [[source.labels[index] for index in decoders[decoding](row)] for row in logits]
        return f1([spans(sentence.labels) for sentence in sentences], [lenient_spans(row) for row in labels])

    return score


def source_logits(source: SourceModel, sentences: Sequence[Sentence]) -> list[Any]:
    """Return the logits of each sentence; those of the same length are computed at once, so that none is padded."""
    vocabulary = source.tokenizer.get_vocab()
    cls, sep, unknown = (vocabulary[token] for token in ("[CLS]", "[SEP]", "[UNK]"))
    rows = [[cls, *(vocabulary.get(char.lower(), unknown) for char in each.chars), sep] for each in sentences]
    logits: list[Any] = [None] * len(rows)
    for length in {len(row) for row in rows}:
        same = [index for index, row in enumerate(rows) if len(row) == length]
        ids = np.array([rows[index] for index in same], np.int32)
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        for index, found in zip(same, run_source(source, inputs)["logits"], strict=True):
            logits[index] = found[1:-1]
    return logits


def lenient_spans(labels: Sequence[str]) -> set[tuple[str, int, int]]:
    """Return the spans of BIO labels, where an I- without a B- starts a span, as in conlleval."""
    found: list[tuple[str, int, int]] = []
    previous = "O"
    for index, label in enumerate(labels):
        if label != "O":
            continues = label[0] == "I" and previous[2:] == label[2:]
            start = found.pop()[1] if continues else index
            found.append((label[2:], start, index + 1))
        previous = label
    return set(found)


def test_constrained_f1(serve: Serve, ner: Path, sentences: list[Sentence], keras_f1: Callable[[str], float]) -> None:
    """With Viterbi decoding the served model has the F1 of the Keras model, at least 0.92."""
    served = served_f1(serve(ner), "ner", sentences)
    print(f"ner: F1 {served:.4f}")
    assert round(served, 4) == round(keras_f1("viterbi"), 4)
    assert served >= 0.92


def test_argmax_f1(serve: Serve, ner_argmax: Path, sentences: list[Sentence], keras_f1: Callable[[str], float]) -> None:
    """With argmax decoding the served model has the F1 of the Keras model, at least 0.88."""
    served = served_f1(serve(ner_argmax), "ner_argmax", sentences)
    print(f"ner_argmax: F1 {served:.4f}")
    assert round(served, 4) == round(keras_f1("argmax"), 4)
    assert served >= 0.88


# ---- MiniLM: sentence embeddings


def test_minilm_embeddings(serve: Serve, minilm: Path) -> None:
    """Sentence embeddings equal PyTorch's, stored in minilm_golden.json, to 1e-4."""
    with Client(serve(minilm), "minilm") as client:
        vectors = client.embed(GOLDEN["sentences"])
    assert vectors.shape == (3, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, np.array(GOLDEN["embeddings"]), rtol=0, atol=1e-4)


def test_minilm_similarities(serve: Serve, minilm: Path) -> None:
    """Related sentences are similar and unrelated ones are not; one by one and in a batch, the vectors are equal."""
    with Client(serve(minilm), "minilm") as client:
        one_by_one = [client.embed(sentence) for sentence in GOLDEN["sentences"]]
        batch = client.embed(GOLDEN["sentences"])
    np.testing.assert_allclose(np.stack(one_by_one), batch, rtol=0, atol=1e-5)
    cosines = batch @ batch.T
    assert cosines[0, 1] > 0.5 > 0.1 > cosines[0, 2]


# ---- Rampart: personal data


def test_rampart_entities(serve: Serve, rampart: Path) -> None:
    """The tagger finds the expected entities, with offsets into the original text."""
    text = "My name is Alex Rivera and I live at 27 Baker Street, Springfield, 62704."
    with Client(serve(rampart), "rampart") as client:
        entities = client.entities(text)
    assert [(entity.label, entity.text) for entity in entities] == [
        ("GIVEN_NAME", "Alex"),
        ("SURNAME", "Rivera"),
        ("BUILDING_NUMBER", "27"),
        ("STREET_NAME", "Baker Street"),
        ("CITY", "Springfield"),
        ("ZIP_CODE", "62704"),
    ]
    assert all(text[entity.start : entity.end] == entity.text for entity in entities)
    assert all(0.5 < entity.score <= 1 for entity in entities)


def test_bundle_info(serve: Serve, rampart: Path) -> None:
    """The server returns the exact bytes of the manifest and of the tokenizer file."""
    transport = GrpcTransport(serve(rampart))
    answer = transport.predict(PredictCall("rampart", "bundle_info", {"row": np.zeros(2, np.int32)}), timeout=60)
    transport.close()
    for name, file in (("manifest", "bundle.json"), ("tokenizer", "tokenizer.json")):
        assert list(answer.outputs[name]) == [(rampart / file).read_bytes()] * 2


def test_length_does_not_matter(serve: Serve, rampart: Path) -> None:
    """Every signature that a text fits gives the same labels and logits: padding changes nothing."""
    text = "My name is Alex Rivera."
    manifest = Manifest.read(rampart)
    definition = (rampart / "tokenizer.json").read_text(encoding="utf-8")
    encodings = Tokenizer(definition, max_length=manifest.max_length).encode([text])
    transport = GrpcTransport(serve(rampart))
    answers = {}
    for signature, length in manifest.signatures.items():
        features = pad_encodings(encodings, signature, length=length, inputs=manifest.inputs)
        answer = transport.predict(PredictCall("rampart", signature, features.inputs), timeout=60)
        answers[length] = {name: value[0, : len(encodings[0])] for name, value in answer.outputs.items()}
    transport.close()
    shortest = answers[min(answers)]
    assert shortest["label_ids"].any()
    for answer_at_length in answers.values():
        np.testing.assert_array_equal(answer_at_length["label_ids"], shortest["label_ids"])
        np.testing.assert_allclose(answer_at_length["logits"], shortest["logits"], rtol=0, atol=1e-4)
