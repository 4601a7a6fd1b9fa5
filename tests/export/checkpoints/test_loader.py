"""Loading a checkpoint: its task, labels and weights, and checkpoints that are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle_export import export_bundle
from bertbundle_export.checkpoints import LoadOptions, load_checkpoint
from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.model import run_source
from source_models import example_inputs, load, run
from tiny_checkpoints import LABELS, change_config, pytorch_weights, to_safetensors

pytestmark = pytest.mark.slow


Write = Callable[..., Path]


def _case(name: str, change: Callable[[Path], object], message: str, **options: Any) -> Any:
    return pytest.param(change, options, message, id=name)


def _truncate(name: str) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        data = (path / name).read_bytes()
        (path / name).write_bytes(data[: len(data) // 2])

    return change


def _drop_tensor(path: Path) -> None:
    from safetensors.numpy import save_file

    weights = pytorch_weights(path)
    weights.pop("classifier.bias")
    (path / "tf_model.h5").unlink()
    save_file(weights, str(path / "model.safetensors"), metadata={"format": "pt"})


def _add_tensor(path: Path) -> None:
    from safetensors.numpy import save_file

    weights = pytorch_weights(path) | {"crf.transitions": np.zeros((5, 5), np.float32)}
    (path / "tf_model.h5").unlink()
    save_file(weights, str(path / "model.safetensors"), metadata={"format": "pt"})


def _truncated_safetensors(path: Path) -> None:
    to_safetensors(path)
    _truncate("model.safetensors")(path)


def _safetensors_header(header: bytes) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        (path / "tf_model.h5").unlink()
        (path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)

    return change


def _write(name: str, content: Any) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(json.dumps(content), encoding="utf-8")

    return change


def _missing_shard(path: Path) -> None:
    to_safetensors(path, shards=3)
    (path / "model-00002-of-00003.safetensors").unlink()


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        _case("no_config", lambda p: (p / "config.json").unlink(), "is not a readable checkpoint: found"),
        _case("config_no_json", lambda p: (p / "config.json").write_text("{"), "config.json is not JSON"),
        _case("other_model", lambda p: change_config(p, model_type="gpt2"), "model_type 'gpt2', expected one of"),
        _case("no_size", lambda p: change_config(p, hidden_size=None), "no number for hidden_size"),
        _case("no_weights", lambda p: (p / "tf_model.h5").unlink(), "no weights: expected model.safetensors"),
        _case("truncated_h5", _truncate("tf_model.h5"), "cannot be read as h5"),
        _case("truncated_safetensors", _truncated_safetensors, "its header says"),
        _case("missing_shard", _missing_shard, "names model-00002-of-00003.safetensors, not in"),
        _case("missing_tensor", _drop_tensor, "no weights for .*classifier"),
        _case("no_tokenizer", lambda p: (p / "vocab.txt").unlink(), "no tokenizer in"),
        _case(
            "other_vocabulary",
            lambda p: (p / "vocab.txt").write_text("[PAD]\n[UNK]\n"),
            "do not match|tokenizer",
        ),
        _case("no_labels", lambda p: change_config(p, id2label=None, label2id=None), "has no labels for token"),
        _case(
            "placeholder_labels",
            lambda p: change_config(
                p, id2label={"0": "LABEL_0", "1": "LABEL_1"}, label2id={"LABEL_0": 0, "LABEL_1": 1}
            ),
            "no labels",
        ),
        _case(
            "labels_contradict",
            lambda p: change_config(p, label2id={"O": 1, "B-PER": 0}),
            "the label O with the number 0 in id2label and 1 in label2id. Pass --labels",
        ),
        _case("labels_not_numbered", lambda p: change_config(p, id2label={"0": "O", "2": "B-X"}), "not numbered"),
        _case(
            "fewer_labels",
            lambda _: None,
            "shapes that differ from config.json for classifier.weight",
            labels=("O", "B-X"),
        ),
        _case("other_task", lambda _: None, "no weights for", task="text-classification", labels=LABELS),
        _case(
            "other_positions", lambda p: change_config(p, position_embedding_type="relative_key"), "Only 'absolute' can"
        ),
        _case("decoder", lambda p: change_config(p, is_decoder=True), "has is_decoder True"),
        _case("heads", lambda p: change_config(p, num_attention_heads=5), "cannot be built from"),
        _case("activation", lambda p: change_config(p, hidden_act="foo"), "cannot be built from"),
        _case("problem_type", lambda p: change_config(p, problem_type="foo"), "that transformers rejects: ValueError"),
        _case("more_weights", _add_tensor, "weights that the model does not have: crf.transitions"),
        _case("one_label", lambda _: None, "Pass --task regression", labels=("O",)),
        _case("label_twice", lambda _: None, "labels must differ, O appears", labels=("O", "O", "B-X")),
        _case("vocab_binary", lambda p: (p / "vocab.txt").write_bytes(b"\xff\xfe\x00"), "tokenizer"),
        _case("vocab_empty", lambda p: (p / "vocab.txt").write_bytes(b""), "tokenizer"),
        _case("other_layers", lambda p: change_config(p, num_hidden_layers=3), "no weights for .*layer"),
        _case(
            "other_width",
            lambda p: change_config(p, intermediate_size=32),
            "shapes that differ .*intermediate.dense.weight",
        ),
    ],
)
def test_invalid_checkpoints(
    checkpoint: Write, change: Callable[[Path], object], options: dict[str, Any], message: str
) -> None:
    """An invalid or inconsistent checkpoint raises one clear error; it is never loaded in part."""
    path = checkpoint()
    change(path)
    with pytest.raises(CheckpointError, match=message):
        load(path, **options)


@pytest.mark.parametrize("problem", [None, "regression"])
def test_regression(checkpoint: Write, problem: str | None) -> None:
    """A model with a single class is a regression, stated or not: the softmax would always be 1."""
    path = checkpoint("BertForSequenceClassification", labels=("LABEL_0",))
    change_config(path, problem_type=problem)
    assert load(path).task == "regression"


def test_regression_with_several_values(checkpoint: Write) -> None:
    """A regression with a value for each of several labels is refused by name."""
    path = checkpoint("BertForSequenceClassification")
    change_config(path, problem_type="regression")
    with pytest.raises(CheckpointError, match="problem_type regression and 5 labels, a value for each"):
        load(path)


def test_labels_that_contradict_are_replaced(checkpoint: Write) -> None:
    """Labels that the user gives count, whatever id2label and label2id say."""
    path = checkpoint()
    change_config(path, label2id={"O": 1, "B-PER": 0})
    assert load(path, labels=LABELS).labels == LABELS


def test_labels_beside_placeholders(checkpoint: Write) -> None:
    """Labels that are only in label2id count, where id2label has those that transformers writes for none."""
    path = checkpoint()
    change_config(path, id2label={str(index): f"LABEL_{index}" for index in range(5)})
    assert load(path).labels == LABELS


@pytest.mark.parametrize("hidden_states", [False, True])
@pytest.mark.parametrize("architecture", ["BertModel", "BertForTokenClassification"])
def test_tuples(checkpoint: Write, architecture: str, *, hidden_states: bool) -> None:
    """A config.json by which transformers' classes return tuples gives the same outputs."""
    path = checkpoint(architecture)
    expected = run(load(path))
    change_config(path, return_dict=False, output_hidden_states=hidden_states)
    found = run(load(path))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


def test_features_ignore_the_head(checkpoint: Write) -> None:
    """A tagger can be loaded for feature extraction; its head is ignored."""
    path = checkpoint()
    to_safetensors(path)
    assert load(path, task="feature-extraction").task == "feature-extraction"


def test_masked_language_model_gives_features(checkpoint: Write) -> None:
    """A masked language model is loaded for fill-mask, or on request for feature extraction, without a pooler."""
    path = checkpoint("BertForMaskedLM")
    assert load(path).task == "fill-mask"
    model = load(path, task="feature-extraction")
    ids = np.full((1, 4), 6, np.int32)
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    assert set(run_source(model, inputs)) == {"last_hidden_state"}


def test_weights_that_are_not_finite(checkpoint: Write) -> None:
    """A NaN in any weight is an error, even if no parity text would use that weight."""
    from safetensors.numpy import load_file, save_file

    from tiny_checkpoints import to_safetensors

    path = checkpoint()
    to_safetensors(path)
    weights = load_file(path / "model.safetensors")
    name = next(name for name in weights if "word_embeddings" in name)
    weights[name][1, 0] = np.nan
    save_file(weights, str(path / "model.safetensors"), metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"not finite floats in .*word_embeddings"):
        load_checkpoint(path, "x", LoadOptions())


def test_multi_label_with_one_label(checkpoint: Write, tmp_path: Path) -> None:
    """A yes-or-no classifier with one column can be exported as multi-label with one label."""
    path = checkpoint("BertForSequenceClassification", labels=("spam",))
    manifest = export_bundle(path, name="spam", output=tmp_path, load=LoadOptions(multi_label=True), **OPTIONS).manifest
    assert (manifest.task, manifest.labels, manifest.multi_label) == ("text-classification", ("spam",), True)


def test_problem_of_one_label(checkpoint: Write) -> None:
    """A problem_type of independent labels counts for one label, too: its probability is a sigmoid, not a value."""
    path = checkpoint("BertForSequenceClassification", labels=("spam",))
    change_config(path, problem_type="multi_label_classification")
    model = load(path)
    assert (model.task, model.labels, model.multi_label) == ("text-classification", ("spam",), True)


OPTIONS: dict[str, Any] = {"max_length": 32, "formats": ["onnx"]}


def _untie(path: Path, name: str, offset: float) -> None:
    from safetensors.numpy import save_file

    weights = pytorch_weights(path)
    embeddings = next(value for key, value in weights.items() if key.endswith("word_embeddings.weight"))
    (path / "tf_model.h5").unlink()
    save_file({**weights, name: embeddings + np.float32(offset)}, str(path / "model.safetensors"), {"format": "pt"})


@pytest.mark.parametrize(
    ("architecture", "decoder"),
    [
        ("BertForMaskedLM", "cls.predictions.decoder.weight"),
        ("RobertaForMaskedLM", "lm_head.decoder.weight"),
        ("DistilBertForMaskedLM", "vocab_projector.weight"),
    ],
)
@pytest.mark.parametrize("offset", [0.0, 0.1], ids=["tied", "untied"])
def test_decoder_of_fill_mask(checkpoint: Write, architecture: str, decoder: str, offset: float) -> None:
    """A decoder that is not the word embeddings is refused: transformers' TensorFlow classes would ignore it."""
    path = checkpoint(architecture)
    _untie(path, decoder, offset)
    if not offset:
        assert load(path).task == "fill-mask"
        return
    with pytest.raises(CheckpointError, match=f"has {decoder}, which differs from the word embeddings"):
        load(path)


@pytest.mark.parametrize(
    ("architecture", "name"), [("BertForMaskedLM", "cls.predictions.bias"), ("RobertaForMaskedLM", "lm_head.bias")]
)
@pytest.mark.parametrize("kept", ["decoder", "both", "different"])
def test_bias_of_fill_mask(checkpoint: Write, architecture: str, name: str, kept: str) -> None:
    """The bias that the head shares with its decoder is read under either name; two different ones are refused."""
    path = checkpoint(architecture)
    expected = run(load(path))["logits"]
    weights = pytorch_weights(path)
    weights[name] = np.arange(len(weights[name]), dtype=np.float32)
    weights[name.replace("bias", "decoder.bias")] = weights[name] + np.float32(kept == "different")
    if kept == "decoder":
        del weights[name]
    _replace_weights(path, weights)
    if kept == "different":
        with pytest.raises(CheckpointError, match=r"decoder.bias, which differs from the bias of the head"):
            load(path)
        return
    found = run(load(path))["logits"]
    np.testing.assert_allclose(found, expected + np.arange(expected.shape[-1], dtype=np.float32), rtol=1e-5)


def _replace_weights(path: Path, weights: Any) -> None:
    from safetensors.numpy import save_file

    (path / "tf_model.h5").unlink()
    save_file(weights, str(path / "model.safetensors"), metadata={"format": "pt"})


@pytest.mark.parametrize("padding", [0, 3])
def test_positions_of_roberta(checkpoint: Write, tmp_path: Path, padding: int) -> None:
    """Positions begin after pad_token_id, as in PyTorch's class: moving the table by as much gives the same answers."""
    path = checkpoint("RobertaForTokenClassification")
    expected = run(load(path))["logits"]
    weights = pytorch_weights(path)
    name = "roberta.embeddings.position_embeddings.weight"
    weights[name] = np.roll(weights[name], padding - 1, axis=0)
    _replace_weights(path, weights)
    change_config(path, pad_token_id=padding)
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    special[padding], special[1] = special[1], special[padding]
    vocabulary = json.loads((path / "vocab.json").read_text(encoding="utf-8"))
    vocabulary |= {token: special.index(token) for token in special}
    (path / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    model = load(path)
    assert (model.max_positions, model.inputs[0].pad_value) == (48 - padding - 1, padding)
    mask = example_inputs()["attention_mask"] == 1
    np.testing.assert_allclose(run(model)["logits"][mask], expected[mask], atol=1e-6)
    assert export_bundle(path, name="r", output=tmp_path / "models", **OPTIONS).manifest.task == "token-classification"


def test_positions_of_roberta_in_tensorflow(checkpoint: Write) -> None:
    """Weights of TensorFlow's class, which has a constant for the padding, are refused with another pad_token_id."""
    path = checkpoint("RobertaForTokenClassification")
    change_config(path, pad_token_id=0)
    with pytest.raises(
        CheckpointError, match="TensorFlow's, whose class counts positions from 2, and PyTorch's from 1"
    ):
        load(path)


def test_padding_that_texts_contain(checkpoint: Write) -> None:
    """A RoBERTa whose padding token is another token of its vocabulary is refused: its position would be padding's."""
    path = checkpoint("RobertaForTokenClassification")
    _replace_weights(path, pytorch_weights(path))
    change_config(path, pad_token_id=2)
    with pytest.raises(CheckpointError, match="pad_token_id 2, which is the token '</s>'"):
        load(path)


def test_configuration_of_an_older_tool(checkpoint: Write) -> None:
    """A config.json without model_type and id2label, with gelu_python, gives the model of the complete one."""
    path = checkpoint("BertForTokenClassification")
    expected = run(load(path))["logits"]
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    numbers = {label: str(index) for index, label in config["id2label"].items()}
    change_config(path, model_type=None, id2label=None, label2id=numbers, hidden_act="gelu_python")
    model = load(path)
    assert model.labels == LABELS
    np.testing.assert_array_equal(run(model)["logits"], expected)


def test_pruned_heads(checkpoint: Write) -> None:
    """Weights with all heads are read, whatever pruned_heads says: pruned weights would have other shapes."""
    path = checkpoint("BertForTokenClassification")
    expected = run(load(path))["logits"]
    change_config(path, pruned_heads={"0": [1]})
    np.testing.assert_array_equal(run(load(path))["logits"], expected)
