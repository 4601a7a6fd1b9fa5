"""Live Keras models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bertbundle_export import HeadSpec, export_bundle
from bertbundle_export.checkpoints import LoadOptions, load_checkpoint
from bertbundle_export.checkpoints.live import live_model
from bertbundle_export.errors import CheckpointError, ExportError
from bertbundle_export.source.tokenization import load_tokenizer
from joint_models import functional_model, write_vocabulary
from keras_files import CONFIG, write_beside
from source_models import load
from tiny_checkpoints import LABELS, change_config

pytestmark = pytest.mark.slow


Write = Callable[..., Path]


@pytest.mark.parametrize("stem", ["DistilBert", "Roberta"])
def test_live_model_of_another_encoder(checkpoint: Write, tmp_path: Path, stem: str) -> None:
    """A live model has the inputs and the maximum length of its encoder; a tokenizer of transformers is accepted."""
    import transformers

    path = checkpoint(f"{stem}ForTokenClassification")
    model = load_checkpoint(path, "x", LoadOptions()).keras
    fast = transformers.AutoTokenizer.from_pretrained(str(path), use_fast=True)
    options = {"task": "token-classification", "labels": LABELS, "tokenizer": fast, "formats": ["onnx"], "lengths": []}
    manifest = export_bundle(model, name="live", output=tmp_path, **options).manifest
    assert [spec.name for spec in manifest.inputs] == ["input_ids", "attention_mask"]
    assert manifest.max_length == (46 if stem == "Roberta" else 48)


def test_live_model(checkpoint: Callable[..., Path], tmp_path: Path, tensorflow: Any) -> None:
    """A subclass of TFBertPreTrainedModel exports with one call from a training script."""
    del tensorflow
    from ner_model import small_model  # the BertNerModel of the example

    tokenizer = load_tokenizer(checkpoint())
    model = small_model(LABELS, vocab_size=tokenizer.get_vocab_size(), max_length=32)
    exported = export_bundle(
        model, name="live", output=tmp_path / "m", task="token-classification", labels=LABELS, tokenizer=tokenizer
    )
    assert exported.manifest.source.format == "live"
    assert exported.manifest.labels == LABELS


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({}, "does not state its task. Pass task=", id="task"),
        pytest.param({"task": "token-classification"}, "has no labels for token-classification", id="labels"),
        pytest.param({"task": "feature-extraction"}, "needs its tokenizer. Pass tokenizer=", id="tokenizer"),
    ],
)
def test_live_model_without_an_argument(
    checkpoint: Callable[..., Path], tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    """What a live model does not state must be passed."""
    from bertbundle_export.checkpoints import load_checkpoint

    model = load_checkpoint(checkpoint("BertModel"), "x", LoadOptions()).keras
    model.config.id2label = {0: "LABEL_0", 1: "LABEL_1"}
    with pytest.raises(CheckpointError, match=message):
        export_bundle(model, name="live", output=tmp_path / "m", **options)


def test_pooling_of_logits(checkpoint: Write, tmp_path: Path) -> None:
    """The code of a classifier says what its logits are computed from: another pooling would be ignored."""
    path = checkpoint("BertForSequenceClassification")
    with pytest.raises(CheckpointError, match=r"BertForSequenceClassification, .* the pooling cannot be cls"):
        load(path, pooling="cls")
    loaded = load(path, pooling="pooler")
    options = LoadOptions(task="text-classification", pooling="cls")
    with pytest.raises(CheckpointError, match="the pooling cannot be chosen"):
        live_model(loaded.keras, options, loaded.tokenizer)
    specs = {"a": HeadSpec(task="regression"), "b": HeadSpec(task="regression", pooling="cls")}
    with pytest.raises(CheckpointError, match=r"^head b: the pooling cannot be chosen"):
        export_bundle(loaded.keras, name="x", output=tmp_path / "m", heads=specs, tokenizer=loaded.tokenizer)


def test_invalid_source(tmp_path: Path) -> None:
    """A source that is neither a path nor a model raises one clear error."""
    with pytest.raises(CheckpointError, match="a int is not a source"):
        export_bundle(3, name="x", output=tmp_path / "m", task="feature-extraction")


@pytest.mark.parametrize("given", [None, False, True])
def test_multi_label(checkpoint: Write, given: bool | None) -> None:
    """A live model and its checkpoint are multi-label as problem_type says, unless the user says otherwise."""
    path = checkpoint("BertForSequenceClassification")
    change_config(path, problem_type="multi_label_classification")
    loaded = load(path, multi_label=given)
    live = live_model(loaded.keras, LoadOptions(task="text-classification", multi_label=given), loaded.tokenizer)
    assert loaded.multi_label == live.multi_label == (given is not False)


def test_live_keras_3_model(tmp_path: Path, tensorflow: Any) -> None:
    """A functional model of Keras 3 on TensorFlow can be exported, although transformers uses Keras 2."""
    del tensorflow
    import keras

    from bertbundle_export import export_bundle

    write_beside(tmp_path / "x")
    names = ("input_ids", "attention_mask")
    ids, mask = (keras.Input((None,), dtype="int32", name=name) for name in names)
    words = keras.layers.Embedding(CONFIG["vocab_size"], 16)(ids)
    features = keras.layers.MultiHeadAttention(2, 8)(words, words, attention_mask=mask[:, None, :])
    model = keras.Model({"input_ids": ids, "attention_mask": mask}, keras.layers.Dense(5)(features))
    exported = export_bundle(
        model,
        name="live",
        output=tmp_path / "models",
        task="token-classification",
        labels=("O", "B-A", "I-A", "B-B", "I-B"),
        tokenizer=tmp_path / "vocab.txt",
        max_length=16,
        lengths=[],
    )
    assert [spec.name for spec in exported.manifest.inputs] == list(names)
    assert {row.format for row in exported.manifest.parity} == {"saved_model", "onnx", "onnx_standard"}


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_model_in_half_precision(tmp_path: Path, tensorflow: Any, policy: str) -> None:
    """A model that computes in half precision is refused; its copy in float32, as the message advises, is not."""
    del tensorflow
    import tf_keras

    options: dict[str, Any] = {"name": "x", "output": tmp_path / "m", "formats": ["onnx"], "max_length": 16}
    options |= {"task": "regression", "tokenizer": write_vocabulary(tmp_path), "lengths": []}
    tf_keras.mixed_precision.set_global_policy(policy)
    try:
        mixed = functional_model(["urgency"], kind="list")
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    with pytest.raises(ExportError, match=rf"layers of the model compute in {policy[6:]}, such as .*set_weights"):
        export_bundle(tf_keras.Model(mixed.inputs, mixed.outputs[0]), **options)
    copy = functional_model(["urgency"], kind="list")
    copy.set_weights(mixed.get_weights())
    assert export_bundle(tf_keras.Model(copy.inputs, copy.outputs[0]), **options).manifest.task == "regression"
