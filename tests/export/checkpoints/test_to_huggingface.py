"""Writing a checkpoint of any format as a Hugging Face directory that other programs can read."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert4keras_heads import pointer_weights, write_bert4keras
from bertbundle_export.checkpoints import LoadOptions
from bertbundle_export.checkpoints.inspect import inspect_checkpoint
from bertbundle_export.checkpoints.loader import load_checkpoint
from bertbundle_export.checkpoints.registry import describe_checkpoint
from bertbundle_export.checkpoints.to_huggingface import write_huggingface
from bertbundle_export.errors import CheckpointError, ExportError
from bertbundle_export.job.texts import PARITY_TEXTS
from bertbundle_export.source.model import run_source
from keras_files import CONFIG, head_weights, main_layer, random_weights, write_beside, write_h5
from optional import needs_torch
from tiny_checkpoints import LABELS

pytestmark = pytest.mark.slow

Write = Callable[..., Path]
IDS = np.arange(3 * 7, dtype=np.int32).reshape(3, 7) + 5
INPUTS = {"input_ids": IDS, "attention_mask": (IDS % 5 > 0).astype(np.int32), "token_type_ids": IDS % 2}


def outputs_of(path: Path, options: LoadOptions) -> dict[str, Any]:
    """Return the outputs of a checkpoint's model for a fixed batch."""
    model = load_checkpoint(path, str(path), options)
    return dict(run_source(model, {spec.name: INPUTS[spec.name] for spec in model.inputs}))


def torch_outputs_of(path: Path) -> dict[str, Any]:
    """Return the outputs of transformers' PyTorch class for the same batch."""
    import torch
    import transformers

    (architecture,) = json.loads((path / "config.json").read_text(encoding="utf-8"))["architectures"]
    model = getattr(transformers, architecture).from_pretrained(str(path)).eval()
    names = [name for name in INPUTS if "Roberta" not in architecture or name != "token_type_ids"]
    with torch.no_grad():
        found = model(**{name: torch.from_numpy(INPUTS[name]).long() for name in names})
    return {name: value.numpy() for name, value in found.items()}


CASES: dict[str, tuple[str, dict[str, Any], LoadOptions]] = {
    "tf1_encoder": ("tf1", {"architecture": "BertModel"}, LoadOptions()),
    "tf1_mlm": ("tf1", {"architecture": "BertForPreTraining"}, LoadOptions()),
    "tf1_tagger": (
        "tf1",
        {"architecture": "BertForTokenClassification"},
        LoadOptions(task="token-classification", labels=LABELS),
    ),
    "tf_hub": ("tf_hub", {"style": "dict", "approximate": True, "lowercase": False}, LoadOptions()),
    "tf1_module": ("tf_hub", {"style": "module"}, LoadOptions(init_args={"num_attention_heads": 2})),
    "huggingface": ("checkpoint", {"architecture": "RobertaForTokenClassification"}, LoadOptions()),
}


@needs_torch
@pytest.mark.parametrize("case", CASES)
def test_directory_equals_its_source(request: pytest.FixtureRequest, tmp_path: Path, case: str) -> None:
    """Models loaded from the directory with PyTorch and TensorFlow give the source's outputs, its tokenizer the ids."""
    from transformers import AutoTokenizer

    fixture, arguments, options = CASES[case]
    source = request.getfixturevalue(fixture)(**arguments)
    path = write_huggingface(source, tmp_path / "made", options)
    expected, torch_found = outputs_of(source, options), torch_outputs_of(path)
    for name, value in outputs_of(path, LoadOptions()).items():
        np.testing.assert_allclose(value, expected[name], atol=1e-6)
        np.testing.assert_allclose(torch_found[name], expected[name], atol=1e-4)
    tokenizer = load_checkpoint(source, "source", options).tokenizer
    loaded = AutoTokenizer.from_pretrained(str(path))
    assert loaded.model_max_length == load_checkpoint(path, "made", LoadOptions()).max_positions
    for text in PARITY_TEXTS[:10]:
        assert loaded(text, add_special_tokens=True)["input_ids"] == tokenizer.encode(text).ids


def test_files(tf1: Write, tmp_path: Path) -> None:
    """The directory has the files that other programs read, with casing and labels."""
    options = LoadOptions(labels=("no", "yes", "a", "b", "c"), lowercase=False)
    path = write_huggingface(tf1("BertForSequenceClassification"), tmp_path / "new" / "made", options)
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"} <= {
        item.name for item in path.iterdir()
    }
    config, tokenizer = (
        json.loads((path / name).read_text(encoding="utf-8")) for name in ("config.json", "tokenizer_config.json")
    )
    assert config["id2label"]["1"] == "yes"
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert tokenizer["do_lower_case"] is False


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param(LoadOptions(), (None, False), id="not_stated"),
        pytest.param(LoadOptions(pooling="cls"), ("cls", False), id="pooling"),
        pytest.param(LoadOptions(pooling="max", normalize=True), ("max", True), id="normalized"),
    ],
)
def test_sentence_embedding(
    tf1: Write, tmp_path: Path, options: LoadOptions, expected: tuple[str | None, bool]
) -> None:
    """Pooling and normalization are written as sentence-transformers does, and kept if the result is written again."""
    first = write_huggingface(tf1("BertModel"), tmp_path / "first", options)
    second = write_huggingface(first, tmp_path / "second", LoadOptions())
    for path in (first, second):
        found = describe_checkpoint(path, LoadOptions())
        assert (found.pooling, found.normalize) == expected
        assert (path / "modules.json").exists() == (expected != (None, False))
    described = {None: "not stated", "cls": "cls", "max": "max, normalized"}[expected[0]]
    assert inspect_checkpoint(second, LoadOptions())["pooling"] == described


def test_texts_of_sentence_transformers(tf1: Write, tmp_path: Path) -> None:
    """A default prompt and the maximum length are written as files, lower-casing goes into the tokenizer."""
    source = write_huggingface(tf1("BertModel"), tmp_path / "source", LoadOptions(pooling="mean", lowercase=False))
    prompts = {"prompts": {"query": "ok: "}, "default_prompt_name": "query"}
    (source / "config_sentence_transformers.json").write_text(json.dumps(prompts), encoding="utf-8")
    settings = {"max_seq_length": 20, "do_lower_case": True}
    (source / "sentence_bert_config.json").write_text(json.dumps(settings), encoding="utf-8")
    assert inspect_checkpoint(source, LoadOptions())["pooling"] == "mean, prompt 'ok: '"
    assert inspect_checkpoint(source, LoadOptions())["lowercase"] is True
    written = write_huggingface(source, tmp_path / "written", LoadOptions())
    description = describe_checkpoint(written, LoadOptions())
    assert (description.prompt, description.max_length, description.lowercase_texts) == ("ok: ", 20, False)
    tokenizer = load_checkpoint(written, "x", LoadOptions()).tokenizer
    assert tokenizer.encode("OK").tokens == ["[CLS]", "o", "##k", "[SEP]"]


def test_unsupported_pooling(tf1: Write, tmp_path: Path) -> None:
    """A pooling that sentence-transformers does not support is refused."""
    with pytest.raises(CheckpointError, match="no pooling by BERT's pooler"):
        write_huggingface(tf1("BertModel"), tmp_path / "made", LoadOptions(pooling="pooler"))


@pytest.mark.parametrize("pooling", ["cls", "mean", "max"])
def test_head_with_another_input(tmp_path: Path, tensorflow: Any, pooling: str) -> None:
    """A classifier whose input differs from transformers' class is refused; its encoder alone can be written."""
    del tensorflow
    write_beside(tmp_path / "model.h5", CONFIG)
    path = write_h5(tmp_path / "model.h5", {**random_weights(), **head_weights("dense", 5)}, main_layer())
    with pytest.raises(
        CheckpointError, match=r"no class of transformers can load .*--task feature-extraction to write"
    ):
        write_huggingface(path, tmp_path / "made", LoadOptions(task="text-classification", pooling=pooling))
    assert write_huggingface(path, tmp_path / "made", LoadOptions(task="feature-extraction")).is_dir()


def test_head_that_transformers_lacks(tmp_path: Path, tensorflow: Any) -> None:
    """A GlobalPointer is refused; its encoder alone can be written."""
    del tensorflow
    path = write_bert4keras(tmp_path / "model.h5", pointer_weights(2, 8))
    with pytest.raises(CheckpointError, match=r"transformers has no such head\. Pass --task feature-extraction"):
        write_huggingface(path, tmp_path / "made", LoadOptions(labels=("PER", "LOC")))
    assert write_huggingface(path, tmp_path / "made", LoadOptions(task="feature-extraction")).is_dir()


def test_wrong_number_of_labels(checkpoint: Write, tmp_path: Path) -> None:
    """A number of labels that differs from the number of classes is an error."""
    source = checkpoint("BertForSequenceClassification")
    with pytest.raises(CheckpointError, match=r"--labels has 2 labels, but .* has 5 classes"):
        write_huggingface(source, tmp_path / "made", LoadOptions(labels=("no", "yes")))
    assert not (tmp_path / "made").exists()


def test_failure_leaves_nothing(tf1: Write, tmp_path: Path) -> None:
    """A damaged checkpoint leaves no files behind, and existing files are not touched."""
    path, target = tf1(), tmp_path / "made"
    data = next(path.glob("*.data-*"))
    original = data.read_bytes()
    data.write_bytes(original[:99] + bytes([original[99] ^ 1]) + original[100:])
    before = set(tmp_path.rglob("*"))
    with pytest.raises(CheckpointError, match="is damaged at"):
        write_huggingface(path, target, LoadOptions())
    assert set(tmp_path.rglob("*")) == before
    data.write_bytes(original)
    (target / "mine").mkdir(parents=True)
    with pytest.raises(ExportError, match="exists already and is not an empty directory"):
        write_huggingface(path, target, LoadOptions())


def test_command(tf1: Write, command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    """`--to-hf` replaces `--name`; one of them is required, and both together are an error."""
    path = tf1()
    run = command(path, "--to-hf", tmp_path / "hf")
    assert (run.returncode, run.stdout) == (0, f"Hugging Face directory: {tmp_path / 'hf'}\n")
    for wrong in ([], ["--to-hf", tmp_path / "other", "--name", "x"]):
        run = command(path, *wrong)
        assert (run.returncode, "Traceback" in run.stderr) == (2, False)
        assert "--to-hf" in run.stderr
