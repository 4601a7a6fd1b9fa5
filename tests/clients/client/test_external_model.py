"""A client of a model that is not a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle import Head, InputError, ManifestError, PredictCall, Prediction, foreign_manifest
from fakes import LABEL_IDS, LABELS, FakeTransport, connect, make_tokenizer


class ForeignTagger(FakeTransport):
    """A tagger with names of its own, int64 inputs and logits as its only output, and without `bundle_info`."""

    def predict(self, call: PredictCall, **_: Any) -> Prediction:
        """See `Transport.predict`."""
        assert (call.model, call.signature, call.outputs) == ("tiny", "score", ("dense",))
        assert {name: array.dtype for name, array in call.inputs.items()} == {
            "input_word_ids": np.dtype(np.int64),
            "input_mask": np.dtype(np.int64),
        }
        labels = LABEL_IDS[call.inputs["input_word_ids"]]
        return Prediction({"dense": 10.0 * np.eye(len(LABELS))[labels]}, 7)


def test_tagger(tokenizer_file: Path) -> None:
    """A model is called with its own names and dtypes, and entities are decoded from its logits."""
    manifest = foreign_manifest(
        "token-classification",
        max_length=12,
        labels=LABELS,
        inputs=("input_ids", "attention_mask"),
        dtype="int64",
    )
    names = {
        "serving_default": "score",
        "input_ids": "input_word_ids",
        "attention_mask": "input_mask",
        "logits": "dense",
    }
    client = connect(ForeignTagger(), manifest=manifest, tokenizer=tokenizer_file, names=names)
    entities = client.entities("Wang lives in Berlin " * 4)
    assert [entity.text for entity in entities] == ["Wang", "Berlin"] * 4
    assert entities[0].score == pytest.approx(1.0, abs=1e-3)
    assert client.pipeline("ner")("Wang")[0]["entity"] == "B-PER"


class ProbabilityTagger(FakeTransport):
    """A tagger whose last layer is a softmax, without an attention mask."""

    def predict(self, call: PredictCall, **_: Any) -> Prediction:
        """See `Transport.predict`."""
        assert {name: array.dtype for name, array in call.inputs.items()} == {"Input-Token": np.dtype(np.float32)}
        labels = LABEL_IDS[call.inputs["Input-Token"].astype(int)]
        probabilities = np.full((*labels.shape, len(LABELS)), 0.1 / (len(LABELS) - 1), np.float32)
        np.put_along_axis(probabilities, labels[..., None], 0.9, axis=-1)
        return Prediction({"softmax": probabilities}, 7)


def connect_tagger(tokenizer_file: Path, output: str) -> Any:
    """Return a client of a `ProbabilityTagger` whose output has a name in the manifest."""
    options: dict[str, Any] = {"max_length": 12, "labels": LABELS, "inputs": ("input_ids",), "dtype": "float32"}
    manifest = foreign_manifest("token-classification", outputs=(output,), **options)
    names = {"input_ids": "Input-Token", output: "softmax"}
    return connect(ProbabilityTagger(), manifest=manifest, tokenizer=tokenizer_file, names=names)


def test_tagger_with_softmax(tokenizer_file: Path) -> None:
    """Probabilities are scores as they are, by every method; a model without a mask is sent none."""
    client = connect_tagger(tokenizer_file, "probabilities")
    assert [(entity.text, round(entity.score, 6)) for entity in client.entities("Wang lives")] == [("Wang", 0.9)]
    tokens = client.pipeline("ner")("Wang lives")
    assert [token["score"] for token in tokens] == pytest.approx([0.9] * len(tokens), abs=1e-6)


def test_probabilities_taken_for_logits(tokenizer_file: Path) -> None:
    """Rows that sum to 1 are not logits: their softmax would be wrong without a word."""
    with pytest.raises(ManifestError, match=r"has probabilities: each row sums to 1\. Name it probabilities"):
        connect_tagger(tokenizer_file, "logits").entities("Wang lives")


@pytest.mark.parametrize("function", ["softmax", "sigmoid"])
def test_classifier_with_probabilities(tokenizer_file: Path, function: str) -> None:
    """A classifier that ends in a softmax or a sigmoid gives its probabilities, also through a pipeline."""
    multi_label = function == "sigmoid"
    probabilities = np.array([[0.5, 0.75] if multi_label else [0.25, 0.75]], np.float32)

    class Classifier(FakeTransport):
        def predict(self, *_: Any, **__: Any) -> Prediction:
            return Prediction({"probabilities": probabilities}, 1)

    options: dict[str, Any] = {"max_length": 12, "labels": ["a", "b"], "multi_label": multi_label}
    manifest = foreign_manifest("text-classification", outputs=("probabilities",), **options)
    client = connect(Classifier(), manifest=manifest, tokenizer=tokenizer_file.parent)
    expected = dict(zip("ab", probabilities[0].tolist(), strict=True))
    assert client.classify("wang").scores == pytest.approx(expected)
    found = client.pipeline("text-classification")("wang", top_k=None, function_to_apply=function)
    assert {item["label"]: item["score"] for item in found} == pytest.approx(expected)


@pytest.mark.parametrize("multi_label", [False, True])
def test_classifier(tokenizer_file: Path, multi_label: bool) -> None:
    """Scores are the softmax of the logits, or their sigmoid for a multi-label model."""

    class ForeignClassifier(FakeTransport):
        def predict(self, *_: Any, **__: Any) -> Prediction:
            return Prediction({"logits": np.array([[0.0, np.log(3.0)]], np.float32)}, 1)

    manifest = foreign_manifest("text-classification", max_length=12, labels=["a", "b"], multi_label=multi_label)
    client = connect(ForeignClassifier(), manifest=manifest, tokenizer=tokenizer_file.parent)
    expected = {"b": 0.75, "a": 0.5} if multi_label else {"b": 0.75, "a": 0.25}
    assert client.classify("wang").scores == pytest.approx(expected)


def test_added_tokens(tmp_path: Path) -> None:
    """Markers that were added to the tokenizer are recognized in a text, as in a bundle; [SEP] is ordinary text."""
    seen: list[Any] = []

    class Recorder(FakeTransport):
        def predict(self, call: PredictCall, **_: Any) -> Prediction:
            seen.append(call.inputs["input_ids"])
            return Prediction({"logits": np.zeros((1, 2), np.float32)}, 1)

    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens(["[SEP]", "[E1]"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    manifest = foreign_manifest("text-classification", max_length=12, labels=["a", "b"])
    connect(Recorder(), manifest=manifest, tokenizer=tmp_path).classify("wang [E1] [SEP]")
    ids = list(seen[0][0])
    assert ids.count(tokenizer.token_to_id("[E1]")) == 1
    assert ids.count(tokenizer.token_to_id("[SEP]")) == 1


def test_tokenizers_that_cannot_be_read(tmp_path: Path) -> None:
    """The error for a file that is no tokenizer.json names it and says how to make one."""
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    manifest = foreign_manifest("text-classification", max_length=12, labels=["a", "b"])
    with pytest.raises(InputError, match=r"tokenizer.json cannot be read: .* To convert a vocab.txt"):
        connect(FakeTransport(), manifest=manifest, tokenizer=tmp_path)


@pytest.mark.parametrize("inputs", [("input_ids", "segments"), ("Input-Token",), ()])
def test_inputs_that_a_bundle_has_not(inputs: tuple[str, ...]) -> None:
    """An input is described by a bundle's name of it: the client would not know what to send."""
    with pytest.raises(ValueError, match=r"expected some of input_ids, attention_mask, token_type_ids, and input_ids"):
        foreign_manifest("text-classification", max_length=12, labels=["a", "b"], inputs=inputs)


@pytest.mark.parametrize("names", [{"input_id": "Input-Token"}, {"probabilities": "softmax"}])
def test_names_without_effect(tokenizer_file: Path, names: dict[str, str]) -> None:
    """A name for something that the manifest has not is refused: it would have no effect."""
    manifest = foreign_manifest("text-classification", max_length=12, labels=["a", "b"], inputs=("input_ids",))
    with pytest.raises(ValueError, match=r"which the manifest has not: it has serving_default, input_ids, logits"):
        connect(FakeTransport(), manifest=manifest, tokenizer=tokenizer_file, names=names)


def test_padding_of_a_model_without_a_mask(tmp_path: Path) -> None:
    """A model without a mask knows padding by its id: another id than the tokenizer's is refused."""
    make_tokenizer().save(str(tmp_path / "tokenizer.json"))
    pad_id = make_tokenizer().token_to_id("[PAD]")
    options: dict[str, Any] = {"max_length": 12, "labels": ["a", "b"], "inputs": ("input_ids",)}
    wrong = pad_id + 1
    manifest = foreign_manifest("text-classification", pad_id=wrong, **options)
    with pytest.raises(ValueError, match=f"pad_id is {wrong}, the tokenizer's padding token has the id {pad_id}"):
        connect(FakeTransport(), manifest=manifest, tokenizer=tmp_path)
    for right in ({"pad_id": pad_id}, {"pad_id": wrong, "inputs": ("input_ids", "attention_mask")}):
        manifest = foreign_manifest("text-classification", **{**options, **right})
        connect(FakeTransport(), manifest=manifest, tokenizer=tmp_path)


class ForeignJointModel(FakeTransport):
    """A model with two heads, whose outputs are logits with names of their own."""

    def predict(self, call: PredictCall, **_: Any) -> Prediction:
        """See `Transport.predict`."""
        assert call.outputs == ("dense", "dense_1")
        ids = call.inputs["input_ids"]
        intent = np.tile(np.log(np.array([0.2, 0.7, 0.1], np.float32)), (len(ids), 1))
        return Prediction({"dense": intent, "dense_1": 10.0 * np.eye(len(LABELS))[LABEL_IDS[ids]]}, 7)


def test_heads(tokenizer_file: Path) -> None:
    """Several heads of a model that is not a bundle are described by task and labels; each has its own logits."""
    heads = {
        "intent": Head("text-classification", labels=("no", "perhaps", "yes")),
        "slots": Head("token-classification", labels=LABELS),
    }
    manifest = foreign_manifest("multi-task", max_length=12, heads=heads)
    assert [spec.name for spec in manifest.outputs] == ["intent.logits", "slots.logits"]
    assert manifest.heads["slots"].label_scheme == "BIO"
    names = {"intent.logits": "dense", "slots.logits": "dense_1"}
    client = connect(ForeignJointModel(), manifest=manifest, tokenizer=tokenizer_file, names=names)
    result = client.heads("Wang lives " * 10, truncation="window")
    assert [entity.text for entity in result["slots"]] == ["Wang"] * 10
    assert result["intent"].scores == pytest.approx({"perhaps": 0.7, "no": 0.2, "yes": 0.1})


@pytest.mark.parametrize("task", ["fill-mask", "question-answering", "feature-extraction", "multi-task", "unknown"])
def test_heads_that_no_method_answers(task: str) -> None:
    """A head is for a task that the client answers for one of several heads."""
    heads = {"a": Head(task), "c": Head("regression")}
    with pytest.raises(ValueError, match=f"head a is for {task}, one of several heads is for token-classification"):
        foreign_manifest("multi-task", max_length=12, heads=heads)


@pytest.mark.parametrize("labels", ["O,B-PER", [0, 1]])
def test_labels_that_are_no_list_of_str(labels: Any) -> None:
    """Labels are str: one str is not a list of its characters, and a number is no label."""
    with pytest.raises(TypeError, match="labels must be a list of str"):
        foreign_manifest("token-classification", max_length=12, labels=labels)
    with pytest.raises(TypeError, match="labels must be a list of str"):
        foreign_manifest("multi-task", max_length=12, heads={"a": Head("text-classification", labels=labels)})
