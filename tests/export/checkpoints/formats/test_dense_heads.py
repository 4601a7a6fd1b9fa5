"""Several Dense layers of a Keras file as heads: whole models, weights and SavedModels."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle import Client
from bertbundle.contract.manifest import Manifest
from bertbundle_export import CheckpointError, ExportError, HeadSpec, LoadOptions, export_bundle
from bertbundle_export.checkpoints.inspect import inspect_checkpoint
from bertbundle_export.checkpoints.to_huggingface import write_huggingface
from joint_models import INTENTS, MOODS, activated, make_config, softmax, two_texts_model, write_vocabulary
from keras_files import head_weights, keras_bert, random_weights, write_beside, write_h5
from tiny_checkpoints import LABELS, write_checkpoint

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file"),
]

HEADS: dict[str, Any] = {
    "intent": ("text-classification", INTENTS),
    "slots": HeadSpec(task="token-classification", labels=LABELS, label_decoding="argmax"),
    "moods": ("text-classification", MOODS),
    "urgency": "regression",
}


def joint_model() -> Any:
    """Return a model whose Dense layers read tokens, the pooler and the first token, with the usual activations."""
    import tf_keras
    from transformers.models.bert.modeling_tf_bert import TFBertMainLayer

    tf_keras.utils.set_random_seed(6)
    names = ("input_ids", "attention_mask", "token_type_ids")
    inputs = {name: tf_keras.Input((None,), dtype="int32", name=name) for name in names}
    tokens, pooled = TFBertMainLayer(make_config(), name="bert")(inputs)[:2]
    dense, dropout = tf_keras.layers.Dense, tf_keras.layers.Dropout(0.1)
    slots = tf_keras.layers.TimeDistributed(dense(len(LABELS), activation="softmax"), name="slots")(dropout(tokens))
    intent = dense(len(INTENTS), activation="softmax", name="intent", use_bias=False)(dropout(pooled))
    moods = dense(len(MOODS), activation="sigmoid", name="moods")(tokens[:, 0])
    return tf_keras.Model(inputs, [slots, intent, moods, dense(1, name="urgency")(pooled)])


def write_config(directory: Path, **settings: Any) -> None:
    """Write what a file needs beside it."""
    write_vocabulary(directory)
    (directory / "bert_config.json").write_text(make_config(**settings).to_json_string(), encoding="utf-8")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, tensorflow: Any) -> tuple[Path, Any]:
    """A directory with the model as a whole .h5, as weights, as .keras and as a SavedModel, and the model."""
    del tensorflow
    directory, model = tmp_path_factory.mktemp("files"), joint_model()
    write_config(directory)
    model.save(str(directory / "whole.h5"))
    model.save_weights(str(directory / "weights.h5"))
    model.save(str(directory / "saved"), save_format="tf")
    write_config(directory / "saved")
    model.save(str(directory / "archive.keras"))
    return directory, model


def check(path: Path, model: Any, text: str = "Maria, Rome") -> None:
    """Compare the answers of a bundle with what Keras and numpy compute from the model itself."""
    import tensorflow as tf

    with Client.local(path) as client:
        result = client.heads(text)
        (encoding,) = client._session.loaded.tokenizer.encode([text])  # type: ignore[union-attr]
    ids = tf.constant([encoding.ids], tf.int32)
    inputs = {"input_ids": ids, "attention_mask": tf.ones_like(ids), "token_type_ids": tf.zeros_like(ids)}
    slots, intent, moods, urgency = (np.asarray(value)[0] for value in model(inputs))
    np.testing.assert_allclose([result["intent"].scores[name] for name in INTENTS], intent, atol=1e-5)
    np.testing.assert_allclose([result["moods"].scores[name] for name in MOODS], moods, atol=1e-5)
    assert result["urgency"] == pytest.approx(urgency[0], abs=1e-4)
    outside = sum(LABELS[label] == "O" for label in slots[1:-1].argmax(-1))
    found = sum(len(entity.text.replace(" ", "")) for entity in result["slots"])
    assert found == len(encoding) - 2 - outside


@pytest.mark.parametrize("name", ["whole.h5", "saved"])
def test_whole_models(files: tuple[Path, Any], tmp_path: Path, name: str) -> None:
    """A whole model states what each head reads and its activation: it needs the names, the tasks and the labels."""
    directory, model = files
    exported = export_bundle(directory / name, name="x", output=tmp_path, heads=HEADS, max_length=24, lengths=[])
    assert exported.manifest.heads["moods"].multi_label
    assert not exported.manifest.heads["intent"].multi_label
    assert exported.manifest.source.format == "keras-h5"
    check(exported.path, model)


def test_weights(files: tuple[Path, Any], tmp_path: Path) -> None:
    """Weights need the pooling of each head of a text, and whether its classes are independent."""
    directory, model = files
    options: dict[str, Any] = {"name": "x", "output": tmp_path, "max_length": 24, "lengths": []}
    with pytest.raises(
        CheckpointError, match=r"does not state the input of the Dense layer intent.*intent\.pooling=cls"
    ):
        export_bundle(directory / "weights.h5", heads=HEADS, **options)
    heads = HEADS | {
        "intent": HeadSpec(task="text-classification", labels=INTENTS, pooling="pooler"),
        "moods": HeadSpec(task="text-classification", labels=MOODS, pooling="cls", multi_label=True),
        "urgency": HeadSpec(task="regression", pooling="pooler"),
    }
    check(export_bundle(directory / "weights.h5", heads=heads, **options).path, model)


def test_command(
    files: tuple[Path, Any], command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """The same on the command line; a head without --head is an error that names the flag."""
    directory, model = files
    (tmp_path / "slots.txt").write_text("\n".join(LABELS))
    arguments = [directory / "whole.h5", "--name", "joint", "--output", tmp_path / "models"]
    arguments += ["--max-length", "24", "--lengths", "16", "--formats", "onnx"]
    flags = [
        f"--head=slots=token-classification:@{tmp_path}/slots.txt",
        f"--head=moods=text-classification:{','.join(MOODS)}",
    ]
    flags += [f"--head=intent=text-classification:{','.join(INTENTS)}", "--head=urgency=regression"]
    result = command(*arguments, *flags, "--head-option", "slots.label-decoding=argmax")
    assert result.returncode == 0, result.stderr
    assert "multi-task" in result.stdout
    assert [*Manifest.read(tmp_path / "models" / "joint" / "1").heads] == ["slots", "moods", "intent", "urgency"]
    check(tmp_path / "models" / "joint" / "1", model)
    result = command(*arguments)
    assert result.returncode == 2
    assert "Name each of several heads, --head NAME=TASK:LABELS" in result.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"intent": ("text-classification", ["abc"])}, "the model has a single class", id="single"),
        pytest.param(
            {"intent": ("text-classification", ["a", "b"])}, "head intent: .* has 4 classes, but 2 labels", id="columns"
        ),
        pytest.param({"moods": None, "mood": HEADS["moods"]}, "has 0 layers called mood after BERT", id="name"),
        pytest.param(
            {"intent": ("token-classification", INTENTS)}, "State text-classification or regression for", id="task"
        ),
        pytest.param(
            {"slots": ("text-classification", LABELS)}, "fit the task text-.* State token-classification", id="tokens"
        ),
        pytest.param(
            {"slots": HeadSpec(task="token-classification", labels=LABELS, pooling="cls")},
            r"head slots: --pooling .* but the task is token-classification\. Leave it out",
            id="tagger_pooling",
        ),
        pytest.param(
            {"intent": HeadSpec(task="text-classification", labels=INTENTS, pooling="mean")},
            "the pooling is pooler, not mean",
            id="pooling",
        ),
        pytest.param(
            {"intent": HeadSpec(task="text-classification", labels=INTENTS, multi_label=True)},
            "activation softmax after its layer intent, which contradicts multi_label=True",
            id="softmax",
        ),
        pytest.param(
            {"moods": HeadSpec(task="text-classification", labels=MOODS, multi_label=False)},
            "activation sigmoid after its layer moods, which contradicts multi_label=False",
            id="sigmoid",
        ),
    ],
)
def test_flags_against_the_file(files: tuple[Path, Any], tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    """What the user states is never followed against the file."""
    heads = {name: head for name, head in {**HEADS, **changes}.items() if head is not None}
    with pytest.raises((CheckpointError, ExportError), match=message):
        export_bundle(files[0] / "whole.h5", name="x", output=tmp_path / "m", heads=heads)
    assert not (tmp_path / "m").exists()


TWO_HEADS = dict.fromkeys(("intent", "mood"), ("text-classification", MOODS))
"""Heads that can be told apart by their names only."""


@pytest.mark.parametrize("saved", ["model.h5", "saved"])
@pytest.mark.parametrize(
    ("outputs", "names", "order"),
    [
        pytest.param(lambda a, b: {"intent": a, "mood": b}, ("mood", "intent"), (0, 1), id="crossed"),
        pytest.param(lambda a, b: {"intent": a, "mood": b}, ("mood", "other"), (0, 1), id="one_crossed"),
        pytest.param(lambda a, b: {"intent": a, "mood": b}, ("x", "y"), (0, 1), id="other_names"),
        pytest.param(lambda a, b: {"x": a, "y": b}, ("mood", "intent"), (1, 0), id="other_keys"),
        pytest.param(lambda a, b: [a, b], ("mood", "intent"), (1, 0), id="list"),
        pytest.param(activated, ("mood", "intent"), (0, 1), id="activations"),
    ],
)
def test_names_of_outputs(
    tmp_path: Path, tensorflow: Any, saved: str, outputs: Any, names: tuple[str, str], order: tuple[int, int]
) -> None:
    """A head is the output with its name, as for a live model; without one, the layer with its name."""
    model = two_texts_model(outputs, names)
    model.save(str(tmp_path / saved), save_format="h5" if saved == "model.h5" else "tf")
    write_config(tmp_path, num_hidden_layers=1)
    options: dict[str, Any] = {"max_length": 16, "lengths": [], "formats": ["onnx"]}
    exported = export_bundle(tmp_path / saved, name="x", output=tmp_path / "m", heads=TWO_HEADS, **options)
    with Client.local(exported.path) as client:
        result = client.heads("Maria, Rome")
        (encoding,) = client._session.loaded.tokenizer.encode(["Maria, Rome"])  # type: ignore[union-attr]
    ids = tensorflow.constant([encoding.ids], tensorflow.int32)
    returned = model({"input_ids": ids, "attention_mask": tensorflow.ones_like(ids)})
    values = list(returned.values()) if isinstance(returned, dict) else returned
    for head, index in zip(TWO_HEADS, order, strict=True):
        value = values[index].numpy()[0]
        expected = value if outputs is activated else softmax(value)
        np.testing.assert_allclose([result[head].scores[mood] for mood in MOODS], expected, atol=1e-5)


def test_output_and_layer_with_the_same_head(tmp_path: Path, tensorflow: Any) -> None:
    """Two heads cannot be one layer: the first by the name of its output, the other by its own."""
    del tensorflow
    two_texts_model(lambda a, b: {"intent": a, "x": b}, ("mood", "intent")).save(str(tmp_path / "model.h5"))
    write_config(tmp_path, num_hidden_layers=1)
    with pytest.raises(CheckpointError, match=r"heads intent and mood by the same layer, mood.*outputs: intent, x\."):
        export_bundle(tmp_path / "model.h5", name="x", output=tmp_path / "m", heads=TWO_HEADS)


@pytest.mark.parametrize("name", ["archive.keras", "directory"])
def test_formats_with_one_head(files: tuple[Path, Any], tmp_path: Path, name: str) -> None:
    """A format whose checkpoints have one head says what to do with several."""
    path = files[0] / name if name != "directory" else write_checkpoint(tmp_path / "hf")
    message = {"archive.keras": r"from Python, with its own code: export_bundle\(model", "directory": "--model-class"}
    with pytest.raises(CheckpointError, match=message[name]):
        export_bundle(path, name="x", output=tmp_path / "m", heads=HEADS)


# ---- layers that no head names


@pytest.mark.parametrize("name", ["whole.h5", "saved"])
def test_one_of_several_heads(files: tuple[Path, Any], tmp_path: Path, name: str) -> None:
    """A head of a whole model is exported on its own; a note names the layers that are not in the bundle."""
    directory, model = files
    options: dict[str, Any] = {"name": "x", "output": tmp_path, "max_length": 24, "lengths": [], "formats": ["onnx"]}
    exported = export_bundle(directory / name, heads={"moods": HEADS["moods"]}, **options)
    assert [*exported.manifest.heads] == ["moods"]
    assert f"{name} also has intent, slots, urgency, which no head names." in exported.manifest.notes
    import tensorflow as tf

    with Client.local(exported.path) as client:
        result = client.classify("Maria, Rome")
        (encoding,) = client._session.loaded.tokenizer.encode(["Maria, Rome"])  # type: ignore[union-attr]
    ids = tf.constant([encoding.ids], tf.int32)
    inputs = {"input_ids": ids, "attention_mask": tf.ones_like(ids), "token_type_ids": tf.zeros_like(ids)}
    expected = np.asarray(model(inputs)[2])[0]
    np.testing.assert_allclose([result.scores[mood] for mood in MOODS], expected, atol=1e-5)


def test_layers_that_a_head_may_need(files: tuple[Path, Any], tmp_path: Path) -> None:
    """A layer is left out only if the file states that no head depends on it."""
    import tf_keras
    from transformers.models.bert.modeling_tf_bert import TFBertMainLayer

    names = ("input_ids", "attention_mask", "token_type_ids")
    inputs = {name: tf_keras.Input((None,), dtype="int32", name=name) for name in names}
    tokens, pooled = TFBertMainLayer(make_config(), name="bert")(inputs)[:2]
    dense = tf_keras.layers.Dense
    chained = dense(1, name="urgency")(dense(32, activation="tanh", name="own_pooler")(tokens[:, 0]))
    tf_keras.Model(inputs, [chained, dense(2, name="other")(pooled)]).save(str(tmp_path / "chained.h5"))
    write_config(tmp_path)
    for path in (tmp_path / "chained.h5", files[0] / "weights.h5"):
        with pytest.raises(CheckpointError, match=r"a Dense layer for each head, .* Only a whole model"):
            export_bundle(
                path, name="x", output=tmp_path / "m", heads={"urgency": HeadSpec(task="regression", pooling="pooler")}
            )
    assert not (tmp_path / "m").exists()


def test_inspect(files: tuple[Path, Any]) -> None:
    """`inspect` names the layers after BERT, and what each reads if the file states it."""
    layers = "intent ({}), moods ({}), slots ({}), urgency ({})"
    text, token = "{} columns, per text", "{} columns, per token"
    found = inspect_checkpoint(files[0] / "whole.h5", LoadOptions())
    facts = layers.format(text.format(4), text.format(3), token.format(len(LABELS)), text.format(1))
    assert found["architecture"] == f"Bert with the layers {facts}"
    assert "--head for each head" in found["task"]
    found = inspect_checkpoint(files[0] / "weights.h5", LoadOptions())
    assert found["architecture"].endswith(layers.format("4 columns", "3 columns", "5 columns", "1 columns"))


USER_CODE = """
import tf_keras
from transformers.models.bert.modeling_tf_bert import TFBertMainLayer


def build(config):
    names = ("input_ids", "attention_mask", "token_type_ids")
    inputs = {name: tf_keras.Input((None,), dtype="int32", name=name) for name in names}
    tokens, pooled = TFBertMainLayer(config, name="bert")(inputs)[:2]
    layers, dense = tf_keras.layers, tf_keras.layers.Dense
    return tf_keras.Model(inputs, {
        "slots": layers.TimeDistributed(dense(5), name="slots")(tokens),
        "intent": dense(4, name="intent", use_bias=False)(pooled),
        "moods": dense(3, name="moods")(tokens[:, 0]),
        "urgency": dense(1, name="urgency")(pooled),
    })
"""


def test_user_class(files: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own function may build a model that returns the heads by name."""
    (tmp_path / "joint_code.py").write_text(USER_CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    directory, model = files
    heads = HEADS | {"moods": HeadSpec(task="text-classification", labels=MOODS, multi_label=True)}
    load = LoadOptions(model_class="joint_code:build")
    options: dict[str, Any] = {"name": "x", "output": tmp_path / "m", "max_length": 24, "lengths": []}
    check(export_bundle(directory / "weights.h5", heads=heads, load=load, **options).path, model)
    pooled = {"urgency": HeadSpec(task="regression", pooling="cls")}
    with pytest.raises(CheckpointError, match="with its own code: the pooling cannot be cls"):
        export_bundle(directory / "weights.h5", heads=heads | pooled, load=load, **options)


def test_keras_bert(tmp_path: Path, tensorflow: Any) -> None:
    """Files of keras-bert have heads by the names of their layers, too."""
    del tensorflow
    write_beside(tmp_path / "x")
    encoder = random_weights(pooler=False)
    slots, intent = head_weights("slots", len(LABELS)), head_weights("intent", len(INTENTS))
    path = write_h5(tmp_path / "model.h5", {**encoder, **slots, **intent}, keras_bert)
    heads = {"slots": HEADS["slots"], "intent": HeadSpec(task="text-classification", labels=INTENTS, pooling="cls")}
    options: dict[str, Any] = {"max_length": 16, "lengths": [], "formats": ["onnx"]}
    joint = export_bundle(path, name="joint", output=tmp_path, heads=heads, **options).path
    alone = write_h5(tmp_path / "alone.h5", {**encoder, **intent}, keras_bert)
    load = LoadOptions(task="text-classification", labels=INTENTS, pooling="cls")
    single = export_bundle(alone, name="single", output=tmp_path, load=load, **options).path
    with Client.local(joint) as client, Client.local(single) as one_head:
        assert client.classify("ann").scores == pytest.approx(one_head.classify("ann").scores, abs=1e-5)
        assert json.loads((joint / "bundle.json").read_text())["heads"]["slots"]["task"] == "token-classification"


def test_huggingface_directory(files: tuple[Path, Any], tmp_path: Path) -> None:
    """Several heads are not written as a Hugging Face directory, which has no class for them."""
    load = LoadOptions(heads={"slots": HEADS["slots"], "urgency": HeadSpec(task="regression")})
    with pytest.raises(ExportError, match="several heads cannot be written as a Hugging Face directory"):
        write_huggingface(files[0] / "whole.h5", tmp_path / "hf", load)
