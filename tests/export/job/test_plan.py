"""Models and options that cannot be exported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bertbundle.errors import BertBundleError
from bertbundle_export import ExportError, HeadSpec, LoadOptions, export_bundle
from joint_models import INTENTS, functional_model, write_vocabulary
from tiny_checkpoints import LABELS, change_config, vocabulary

pytestmark = pytest.mark.slow


Write = Callable[..., Path]


OPTIONS: dict[str, Any] = {"max_length": 32, "formats": ["onnx"]}


@pytest.mark.parametrize(
    ("architecture", "change", "options", "message"),
    [
        pytest.param("BertModel", {}, {"load": LoadOptions(pooling="median")}, "Pass --pooling", id="pooling"),
        pytest.param("DistilBertModel", {}, {"load": LoadOptions(pooling="pooler")}, "has no pooler", id="pooler"),
        pytest.param("BertForMaskedLM", {}, {"top_k": 0}, "top_k must be at least 1", id="top_k_0"),
        pytest.param("BertForMaskedLM", {}, {"top_k": 99_999}, "exceeds the vocabulary's", id="top_k_large"),
    ],
)
def test_unsuitable_options(
    checkpoint: Write, tmp_path: Path, architecture: str, change: Any, options: Any, message: str
) -> None:
    """An option that the model does not support raises one clear error."""
    path = checkpoint(architecture)
    change_config(path, **change)
    with pytest.raises(BertBundleError, match=message):
        export_bundle(path, name="x", output=tmp_path, **{**OPTIONS, **options})


def _joint_model(outputs: Callable[[Any, Any], Any]) -> Any:
    """Return a model with an intent for each text and a slot for each token."""
    import tf_keras

    from bertbundle_export.tensorflow_import import transformers

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(vocab_size=len(vocabulary()), max_position_embeddings=32, **sizes)
    inputs = {name: tf_keras.Input((None,), dtype="int32", name=name) for name in ("input_ids", "attention_mask")}
    encoded = transformers.TFBertModel(config)(inputs)
    intent, slots = tf_keras.layers.Dense(3, name="intent"), tf_keras.layers.Dense(5, name="slots")
    return tf_keras.Model(inputs, outputs(intent(encoded.pooler_output), slots(encoded.last_hidden_state)))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["intent_first", "slots_first"])
@pytest.mark.parametrize("task", ["text-classification", "token-classification"])
def test_outputs_without_names(tensorflow: Any, tmp_path: Path, order: tuple[int, int], task: str) -> None:
    """A model that returns a list of outputs is refused: one of them would be missing."""
    del tensorflow
    model = _joint_model(lambda *outputs: [outputs[index] for index in order])
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary()) + "\n", encoding="utf-8")
    options = {"task": task, "labels": ("a", "b", "c"), "tokenizer": tmp_path / "vocab.txt", **OPTIONS}
    with pytest.raises(BertBundleError, match=r"2 outputs without names, of shapes .* Return a dict"):
        export_bundle(model, name="x", output=tmp_path, **options)


def test_unused_outputs(tensorflow: Any, tmp_path: Path) -> None:
    """Named outputs that the task does not use are in a note: they are not in the bundle."""
    del tensorflow
    model = _joint_model(lambda intent, slots: {"logits": slots, "intent": intent})
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary()) + "\n", encoding="utf-8")
    options = {"task": "token-classification", "labels": LABELS, "tokenizer": tmp_path / "vocab.txt", **OPTIONS}
    exported = export_bundle(model, name="x", output=tmp_path, **options)
    assert any("the model also returns intent" in note for note in exported.manifest.notes)


_HEADS = {"intent": HeadSpec(task="text-classification", labels=INTENTS), "urgency": HeadSpec(task="regression")}


def test_sigmoid_of_a_live_model(tensorflow: Any, tmp_path: Path) -> None:
    """A classifier or tagger that ends in a sigmoid is refused: softmax of its values is not its result."""
    del tensorflow
    options: dict[str, Any] = {"name": "x", "output": tmp_path / "m", "tokenizer": write_vocabulary(tmp_path)}
    for output, task, labels in (("intent", "text-classification", INTENTS), ("slots", "token-classification", LABELS)):
        model = functional_model((output,), kind="list", activation="sigmoid")
        with pytest.raises(ExportError, match=r"^the model returns probabilities: .* computed by a sigmoid"):
            export_bundle(model, task=task, labels=labels, **options, **OPTIONS)
    model = functional_model(("intent", "urgency"), activation="sigmoid")
    with pytest.raises(ExportError, match=r"^head intent: the model returns probabilities: .* computed by a sigmoid"):
        export_bundle(model, heads=_HEADS, **options, **OPTIONS)
    assert not list((tmp_path / "m").iterdir())


@pytest.mark.parametrize(("activation", "notes"), [("relu", 1), ("tanh", 0)])
def test_activation_of_a_live_model(tensorflow: Any, tmp_path: Path, activation: str, notes: int) -> None:
    """Logits that a relu computes are in a note, which names their head; a regression's value may be."""
    del tensorflow
    model = functional_model(("intent", "urgency"), activation=activation)
    tokenizer = write_vocabulary(tmp_path)
    exported = export_bundle(model, name="x", output=tmp_path, heads=_HEADS, tokenizer=tokenizer, **OPTIONS)
    found = [note for note in exported.manifest.notes if "are computed by a Relu" in note]
    assert [note.partition(":")[0] for note in found] == ["head intent"] * notes
