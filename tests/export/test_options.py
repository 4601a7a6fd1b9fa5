"""What a model must be for its task, and what must not be ignored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle.errors import BertBundleError
from bertbundle_export import ExportOptions, LoadOptions, export_bundle
from bertbundle_export.checkpoints import load_checkpoint
from bertbundle_export.errors import CheckpointError, ExportError
from bertbundle_export.options import check_use
from bertbundle_export.source.tokenization import load_tokenizer
from bertbundle_export.tasks import TASKS, check_outputs
from tiny_checkpoints import LABELS, change_config

pytestmark = pytest.mark.slow

Write = Callable[..., Path]
OPTIONS: dict[str, Any] = {"max_length": 32, "formats": ["onnx"]}


@pytest.mark.parametrize(
    ("task", "name", "value"),
    [
        pytest.param("question-answering", "labels", ("a", "b"), id="labels"),
        pytest.param("token-classification", "multi_label", True, id="multi_label"),
        pytest.param("token-classification", "last_layers", 2, id="last_layers"),
        pytest.param("token-classification", "top_k", 3, id="top_k"),
        pytest.param("fill-mask", "normalize", True, id="normalize"),
        pytest.param("text-classification", "crf_transitions", "crf", id="crf"),
    ],
)
def test_no_option_is_ignored(task: str, name: str, value: Any) -> None:
    """An option that the task has no use for is an error; the tasks it is for take it."""
    of = ExportOptions if name in ExportOptions.__dataclass_fields__ else LoadOptions
    given = (of(**{name: value}), ExportOptions(), LoadOptions())
    with pytest.raises(ExportError, match=f"{name}= in Python"):
        check_use(task, *given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"last_layers": 0}, "at least 1, got 0", id="no_layers"),
        pytest.param({"last_layers": 2, "pooling": "pooler"}, "the pooler is of the last layer", id="pooler"),
    ],
)
def test_layers_that_cannot_be(options: dict[str, Any], message: str) -> None:
    """Layers are counted from 1, and BERT's pooler is of one."""
    with pytest.raises(CheckpointError, match=message):
        LoadOptions(**options)


@pytest.mark.parametrize(
    ("task", "shape", "message"),
    [
        pytest.param("text-classification", (2, 4, 5), r"needs 2 dimensions", id="tokens_as_texts"),
        pytest.param("token-classification", (2, 5), r"needs 3 dimensions", id="texts_as_tokens"),
        pytest.param("regression", (2, 4, 1), r"needs 2 dimensions", id="values_of_tokens"),
    ],
)
def test_rank_of_the_logits(task: str, shape: tuple[int, ...], message: str) -> None:
    """A head for tokens is no head for texts, nor the other way round."""
    with pytest.raises(ExportError, match=message):
        check_outputs({"logits": np.ones(shape, np.float32)}, TASKS[task], LABELS)


def test_probabilities_are_no_logits() -> None:
    """A head that ends in softmax is refused: the bundle's softmax of it would be other scores."""
    logits = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    check_outputs({"logits": logits}, TASKS["text-classification"], LABELS)
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    with pytest.raises(ExportError, match="leave out activation='softmax'"):
        check_outputs({"logits": probabilities}, TASKS["text-classification"], LABELS)


@pytest.mark.parametrize("masked", [True, False])
def test_answers_that_depend_on_the_padding(checkpoint: Write, tmp_path: Path, tensorflow: Any, masked: bool) -> None:
    """A head that ignores the mask has one signature, and no others may be asked for; one that follows it has all."""
    source = load_checkpoint(checkpoint("BertModel"), "x", LoadOptions())

    class Largest(tensorflow.Module):  # type: ignore[misc]
        def __call__(self, inputs: Any, training: bool = False) -> Any:
            hidden = source.keras(inputs, training=training).last_hidden_state
            if masked:
                hidden = tensorflow.where(inputs["attention_mask"][:, :, None] > 0, hidden, -1e9)
            return tensorflow.reduce_max(hidden, 1)[:, : len(LABELS)]

    model = Largest()
    model.bert = source.keras
    given = {"task": "text-classification", "labels": LABELS, "tokenizer": source.tokenizer, **OPTIONS}
    manifest = export_bundle(model, name="largest", output=tmp_path, **given).manifest
    shorter = ["length_8", "length_16", "length_24"]
    assert list(manifest.signatures) == [*(shorter if masked else []), "serving_default"]
    assert ("ignore attention_mask" in " ".join(manifest.notes)) is not masked
    if not masked:
        with pytest.raises(ExportError, match="Leave --lengths out"):
            export_bundle(model, name="largest", output=tmp_path, lengths=[8], **given)


@pytest.mark.parametrize("stem", ["DistilBert", "Roberta"])
def test_live_model_of_another_encoder(checkpoint: Write, tmp_path: Path, stem: str) -> None:
    """A live model has the inputs and the limit of its encoder; transformers' own tokenizer object will do."""
    import transformers

    path = checkpoint(f"{stem}ForTokenClassification")
    model = load_checkpoint(path, "x", LoadOptions()).keras
    fast = transformers.AutoTokenizer.from_pretrained(str(path), use_fast=True)
    given = {"task": "token-classification", "labels": LABELS, "tokenizer": fast, "formats": ["onnx"], "lengths": []}
    manifest = export_bundle(model, name="live", output=tmp_path, **given).manifest
    assert [spec.name for spec in manifest.inputs] == ["input_ids", "attention_mask"]
    assert manifest.max_length == (46 if stem == "Roberta" else 48)


def test_one_label_by_sigmoid(checkpoint: Write, tmp_path: Path) -> None:
    """A yes-or-no classifier of one column is multi-label with one label."""
    path = checkpoint("BertForSequenceClassification", labels=("spam",))
    manifest = export_bundle(path, name="spam", output=tmp_path, load=LoadOptions(multi_label=True), **OPTIONS).manifest
    assert (manifest.task, manifest.labels, manifest.multi_label) == ("text-classification", ("spam",), True)


@pytest.mark.parametrize(
    ("architecture", "change", "options", "message"),
    [
        pytest.param("BertModel", {}, {"load": LoadOptions(pooling="median")}, "Pass --pooling", id="pooling"),
        pytest.param("DistilBertModel", {}, {"load": LoadOptions(pooling="pooler")}, "has no pooler", id="pooler"),
        pytest.param("BertForMaskedLM", {}, {"top_k": 0}, "top_k must be at least 1", id="top_k_0"),
        pytest.param("BertForMaskedLM", {}, {"top_k": 99_999}, "more than the vocabulary's", id="top_k_large"),
    ],
)
def test_choices_that_cannot_be(
    checkpoint: Write, tmp_path: Path, architecture: str, change: Any, options: Any, message: str
) -> None:
    """A choice that the model cannot follow is one clear error."""
    path = checkpoint(architecture)
    change_config(path, **change)
    with pytest.raises(BertBundleError, match=message):
        export_bundle(path, name="x", output=tmp_path, **{**OPTIONS, **options})


def test_weights_that_are_not_finite(checkpoint: Write) -> None:
    """A weight that is no number is refused, also where no parity text would touch it."""
    from safetensors.numpy import load_file, save_file

    from tiny_checkpoints import to_safetensors

    path = checkpoint()
    to_safetensors(path)
    weights = load_file(path / "model.safetensors")
    name = next(name for name in weights if "word_embeddings" in name)
    weights[name][1, 0] = np.nan
    save_file(weights, str(path / "model.safetensors"), metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"no finite floats in .*word_embeddings"):
        load_checkpoint(path, "x", LoadOptions())


def test_tokenizer_of_another_kind(checkpoint: Write, tmp_path: Path) -> None:
    """A tokenizer that transformers has in Python only is refused; a tokenizer.json may be named in its place."""
    path = checkpoint()
    whole = tmp_path / "tokenizer.json"
    load_tokenizer(path).save(str(whole))
    (path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertJapaneseTokenizer"}', encoding="utf-8")
    with pytest.raises(CheckpointError, match="BertJapaneseTokenizer, which has no form"):
        load_checkpoint(path, "x", LoadOptions())
    assert load_checkpoint(path, "x", LoadOptions(tokenizer=whole)).tokenizer.token_to_id("[UNK]") == 1
