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
from source_models import load, run
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
        _case("placeholder_labels", lambda p: change_config(p, id2label={"0": "LABEL_0", "1": "LABEL_1"}), "no labels"),
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
