"""Directories of Kashgari: the layers after BERT, labels, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle import Client
from bertbundle.contract.types import InputFeatures
from bertbundle_export import HeadSpec, LoadOptions, export_bundle
from bertbundle_export.checkpoints.registry import describe_checkpoint, find_format
from bertbundle_export.checkpoints.to_huggingface import write_huggingface
from bertbundle_export.errors import CheckpointError
from bertbundle_export.runners import saved_model_runner
from bertbundle_export.source.model import run_source
from kashgari_models import CLASSES, HEADS, LENGTH, TAGS, write_kashgari
from source_models import example_inputs, load
from tf1_taggers import viterbi
from tiny_checkpoints import vocabulary

pytestmark = pytest.mark.slow

# What Kashgari 2.0.2 (TensorFlow 2.3.4, bert4keras 0.11.5) and 1.1.5 (TensorFlow 1.15.5, keras-bert 0.89.0) returned:
# models of the same classes and sizes, with the weights of `write_kashgari` assigned by name, called by
# `tf_model.predict` on `INPUTS`. For taggers: the probabilities of the first text's tokens; for others: of both texts.
RECORDED = {
    "BiLSTM": [
        [0.040211, 0.138551, 0.000862, 0.820376],
        [0.01141, 0.05935, 0.001334, 0.927906],
        [0.031457, 0.203294, 0.030351, 0.734898],
        [0.189957, 0.383873, 0.155236, 0.270934],
        [0.498127, 0.279669, 0.132013, 0.090192],
        [0.048285, 0.191224, 0.021755, 0.738736],
        [0.185844, 0.194019, 0.012314, 0.607823],
    ],
    "BiGRU": [
        [2e-06, 5e-06, 0.415715, 0.584278],
        [7.5e-05, 2e-06, 0.947059, 0.052865],
        [7.6e-05, 2e-06, 0.947431, 0.052491],
        [7e-06, 1e-06, 0.99956, 0.000431],
        [0.067409, 0.930979, 0.001495, 0.000117],
        [3.6e-05, 2e-06, 0.988494, 0.011469],
        [0.000126, 2e-06, 0.779566, 0.220307],
    ],
    "BiLSTM classifier": [[0.033738, 0.016079, 0.950183], [0.052771, 0.081793, 0.865436]],
    "CNN classifier": [[0.999998, 0.0, 2e-06], [0.020273, 0.000569, 0.979158]],
    "CNN-GRU classifier": [[0.05835, 0.271571, 0.670079], [0.088478, 0.046429, 0.865092]],
    "Kashgari 1: BiLSTM": [
        [0.387245, 0.000162, 0.002477, 0.610116],
        [0.258359, 0.013232, 0.015298, 0.713111],
        [0.098245, 0.009693, 0.002414, 0.889649],
        [0.062341, 0.00013, 0.001811, 0.935718],
        [0.091065, 0.000123, 0.001461, 0.907351],
        [0.159003, 1.5e-05, 0.000229, 0.840753],
        [0.097519, 5.8e-05, 0.000526, 0.901897],
    ],
    "Kashgari 1: CNN-LSTM": [
        [0.391896, 0.160012, 0.319743, 0.128349],
        [0.297312, 0.223161, 0.319381, 0.160146],
        [0.319626, 0.125603, 0.441868, 0.112903],
        [0.288314, 0.233621, 0.328832, 0.149233],
        [0.276924, 0.169789, 0.324252, 0.229035],
        [0.314543, 0.216018, 0.259887, 0.209551],
        [0.328014, 0.145058, 0.391375, 0.135553],
    ],
    "Kashgari 1: CNN classifier": [[0.000247, 0.999491, 0.000262], [0.1242, 0.855648, 0.020152]],
}
RECORDED_CRF = [1, 1, 1, 1, 1, 1, 3]
INPUTS = {"input_ids": np.zeros((2, LENGTH), np.int32)}
INPUTS["input_ids"][0, :7] = [2, 44, 50, 60, 70, 80, 3]
INPUTS["input_ids"][1, :4] = [2, 90, 100, 3]
INPUTS["attention_mask"] = (INPUTS["input_ids"] > 0).astype(np.int32)
INPUTS["token_type_ids"] = np.zeros_like(INPUTS["input_ids"])


@pytest.fixture
def write(tmp_path: Path, tensorflow: Any) -> Callable[..., Path]:
    """Write a directory, see `write_kashgari`."""
    del tensorflow
    return lambda head, **changes: write_kashgari(tmp_path / "saved", head, **changes)


@pytest.mark.parametrize("head", RECORDED)
def test_probabilities(write: Callable[..., Path], head: str) -> None:
    """The model that is built from a directory returns what Kashgari's own model returned."""
    model = load(write(head))
    logits = run_source(model, INPUTS)["logits"]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    found = probabilities[0, :7] if model.task == "token-classification" else probabilities
    np.testing.assert_allclose(found, RECORDED[head], atol=1e-5)
    assert model.labels == HEADS[head][1]


def test_crf(write: Callable[..., Path]) -> None:
    """The best path of the CRF over a text is what Kashgari's own model returned."""
    outputs = run_source(load(write("BiLSTM-CRF")), INPUTS)
    assert viterbi(outputs["logits"][0], outputs["transitions"], 7) == RECORDED_CRF
    assert outputs["logits"][0, :7].argmax(axis=-1).tolist() != RECORDED_CRF


def test_exported_crf(write: Callable[..., Path], tmp_path: Path) -> None:
    """A bundle decodes with the CRF, also in a shorter signature, and the client looks up single characters."""
    path = write("BiLSTM-CRF")
    exported = export_bundle(path, name="ner", output=tmp_path / "out", lengths=(12,), max_length=LENGTH)
    assert (exported.manifest.label_decoding, exported.manifest.labels) == ("crf", TAGS)
    assert any("split into single characters" in note for note in exported.manifest.notes)
    outputs = run_source(load(path), example_inputs())
    run = saved_model_runner(exported.path)
    label_ids = run(InputFeatures("length_12", example_inputs()))["label_ids"]
    paths = [
        viterbi(logits, outputs["transitions"], int(length))
        for logits, length in zip(outputs["logits"], example_inputs()["attention_mask"].sum(axis=1), strict=True)
    ]
    assert [row[: len(path)].tolist() for row, path in zip(label_ids, paths, strict=True)] == paths
    assert len({label for path in paths for label in path}) > 1
    with Client.local(tmp_path / "out/ner") as client:
        assert client.entities(_text(path, INPUTS["input_ids"][0, 1:6])) == []  # all of them are O: RECORDED_CRF


def test_exported_convolution(write: Callable[..., Path], tmp_path: Path) -> None:
    """A model that reads padding is exported with the length that texts were padded to in training, and no other."""
    path = write("CNN classifier")
    exported = export_bundle(path, name="topics", output=tmp_path / "out", formats=("onnx",))
    assert exported.manifest.signatures == {"serving_default": LENGTH}
    with Client.local(tmp_path / "out/topics") as client:
        scores = client.classify(_text(path, INPUTS["input_ids"][1, 1:3])).scores
        np.testing.assert_allclose([scores[label] for label in CLASSES], RECORDED["CNN classifier"][1], atol=1e-4)


def _text(path: Path, ids: np.ndarray[Any, Any]) -> str:
    """Return the text with these token ids."""
    stored = json.loads((path / "model_config.json").read_text(encoding="utf-8"))
    tokens = {number: token for token, number in stored["text_processor"]["config"]["vocab2idx"].items()}
    return "".join(tokens[int(index)] for index in ids)


def test_embeddings_only(write: Callable[..., Path]) -> None:
    """For feature extraction, the layers after BERT are left out, whatever they are."""
    path = write("BiLSTM", layers=[("Attention", "attention", {})])
    assert load(path, task="feature-extraction").task == "feature-extraction"


def _change(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    file = next(file for file in path.iterdir() if file.suffix == ".json")
    stored = json.loads(file.read_text(encoding="utf-8"))
    change(stored)
    file.write_text(json.dumps(stored), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("head", "layers", "message"),
    [
        ("BiLSTM", [("Attention", "attention", {})], r"not supported: attention \(Attention\)\. .* --model-class"),
        ("BiLSTM", [("LSTM", "lstm", {"stateful": True})], r"not supported: lstm \(LSTM\)"),
        ("Kashgari 1: BiLSTM", [("CRF", "layer_crf", {})], r"layer_crf \(CRF\), which decodes padding, too"),
        ("BiLSTM", [("Dropout", "dropout", {})], "ends in Dropout, expected a Dense layer"),
        ("BiLSTM", [], "ends in BERT, expected a Dense layer"),
        ("BiLSTM", [("Dense", "dense", {"units": 4, "activation": "relu"})], "ends in the activation relu"),
    ],
)
def test_other_layers(write: Callable[..., Path], head: str, layers: list[Any], message: str) -> None:
    """Layers that a bundle does not compute are refused by name, with the way to export them."""
    with pytest.raises(CheckpointError, match=message):
        describe_checkpoint(write(head, layers=layers), LoadOptions())


def test_layers_side_by_side(write: Callable[..., Path]) -> None:
    """A layer that reads two others, as that of CNN_Attention_Model, is refused by name."""

    def add_source(stored: dict[str, Any]) -> None:
        stored["tf_model"]["config"]["layers"][-1]["inbound_nodes"][0].append(["layer_blstm", 0, 0, {}])

    path = _change(write("BiLSTM"), add_source)
    with pytest.raises(CheckpointError, match=r"activation \(Activation\) reads dense, layer_blstm"):
        describe_checkpoint(path, LoadOptions())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "text-classification"}, "the task token-classification, not text-classification"),
        ({"pooling": "mean"}, "layers of its own after BERT, not the pooling mean"),
        ({"multi_label": True}, "the activation softmax"),
        ({"heads": {"slots": HeadSpec(task="token-classification", labels=TAGS)}}, "one head, not several"),
    ],
)
def test_contradicting_options(write: Callable[..., Path], options: dict[str, Any], message: str) -> None:
    """Options that the file contradicts are refused."""
    with pytest.raises(CheckpointError, match=message):
        describe_checkpoint(write("BiLSTM"), LoadOptions(**options))


def test_wrong_number_of_labels(write: Callable[..., Path]) -> None:
    """Labels that do not fit the last layer are refused."""
    with pytest.raises(CheckpointError, match="3 labels, its last layer has 4 outputs"):
        describe_checkpoint(write("BiLSTM", labels=CLASSES), LoadOptions())


def test_multi_label(write: Callable[..., Path]) -> None:
    """A sigmoid makes classes independent."""
    layers = [*HEADS["BiLSTM classifier"][2][:-1], ("Activation", "activation", {"activation": "sigmoid"})]
    assert load(write("BiLSTM classifier", layers=layers)).multi_label


def test_sigmoid_for_each_token(write: Callable[..., Path]) -> None:
    """A tagger with independent labels is refused: a bundle would take a softmax."""
    layers = [*HEADS["BiLSTM"][2][:-1], ("Activation", "activation", {"activation": "sigmoid"})]
    with pytest.raises(CheckpointError, match="with a sigmoid for each token"):
        describe_checkpoint(write("BiLSTM", layers=layers), LoadOptions())


def test_huggingface_directory(write: Callable[..., Path], tmp_path: Path) -> None:
    """The encoder is written as a Hugging Face directory with a given tokenizer only: no class has Kashgari's."""
    path, options = write("BiLSTM"), LoadOptions(task="feature-extraction")
    with pytest.raises(CheckpointError, match=r"no class of transformers looks up whole tokens.* Pass --tokenizer"):
        write_huggingface(path, tmp_path / "hf", options)
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary()) + "\n", encoding="utf-8")
    write_huggingface(path, tmp_path / "hf", replace(options, tokenizer=tmp_path / "vocab.txt"))
    expected = run_source(load(path, task="feature-extraction"), INPUTS)["last_hidden_state"]
    found = run_source(load(tmp_path / "hf", task="feature-extraction"), INPUTS)["last_hidden_state"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_other_embedding(write: Callable[..., Path]) -> None:
    """A model without a BERT embedding is refused by the embedding's name."""

    def change(stored: dict[str, Any]) -> None:
        stored["embedding"] = {"__class_name__": "BareEmbedding", "config": {}}

    with pytest.raises(CheckpointError, match="with a BareEmbedding of the model type none: only BERT"):
        describe_checkpoint(_change(write("BiLSTM"), change), LoadOptions())


def test_saved_model_of_version_1(write: Callable[..., Path]) -> None:
    """A SavedModel of Kashgari 1 is refused: it has the variables of all models of its process."""
    path = write("Kashgari 1: BiLSTM")
    (path / "model_weights.h5").unlink()
    (path / "saved_model.pb").touch()
    with pytest.raises(CheckpointError, match=r"SavedModel of Kashgari 1\.1\.5.* directory that model\.save\(\) wrote"):
        describe_checkpoint(path, LoadOptions())


def test_unknown_length(write: Callable[..., Path]) -> None:
    """Layers that read padding need the length of training."""
    path = _change(write("CNN classifier"), lambda stored: stored["config"].pop("sequence_length"))
    with pytest.raises(CheckpointError, match=r"read padding .* no sequence_length"):
        describe_checkpoint(path, LoadOptions())


def test_own_class(write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--model-class` builds any layers, whose weights are found by their names."""
    path = write("BiLSTM", layers=[("Attention", "attention", {})])
    (tmp_path / "kashgari_custom.py").write_text(_BUILD, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    model = load(path, model_class="kashgari_custom:build", task="token-classification", labels=TAGS)
    expected = load(write_kashgari(tmp_path / "whole", "BiLSTM"))
    np.testing.assert_allclose(run_source(model, INPUTS)["logits"], run_source(expected, INPUTS)["logits"], atol=1e-5)


_BUILD = """
def build(config):
    import tf_keras
    from transformers.models.bert.modeling_tf_bert import TFBertMainLayer

    names = ("input_ids", "attention_mask", "token_type_ids")
    inputs = {name: tf_keras.Input((None,), dtype="int32", name=name) for name in names}
    features = TFBertMainLayer(config, add_pooling_layer=False, name="bert")(inputs)["last_hidden_state"]
    lstm = tf_keras.layers.LSTM(4, return_sequences=True)
    mask = tf_keras.backend.cast(inputs["attention_mask"], "bool")
    features = tf_keras.layers.Bidirectional(lstm, name="layer_blstm")(features, mask=mask)
    return tf_keras.Model(inputs, {"logits": tf_keras.layers.Dense(4, name="dense")(features)})
"""


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_other_directories(tmp_path: Path, content: str) -> None:
    """A model_config.json of something else is not taken for Kashgari's."""
    (tmp_path / "model_config.json").write_text(content, encoding="utf-8")
    (tmp_path / "model_weights.h5").touch()
    with pytest.raises(CheckpointError, match="is not a readable checkpoint"):
        find_format(tmp_path)


def test_incomplete_configuration(write: Callable[..., Path]) -> None:
    """A configuration without a part is one clear error."""
    path = _change(write("BiLSTM"), lambda stored: stored.pop("label_processor"))
    with pytest.raises(CheckpointError, match="cannot be read: KeyError: 'label_processor'"):
        describe_checkpoint(path, LoadOptions())
