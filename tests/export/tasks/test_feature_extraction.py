"""Sentence embeddings equal those of sentence-transformers, computed with numpy from the source model's vectors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle import Client
from bertbundle.contract.types import InputFeatures
from bertbundle_export import Exported, LoadOptions, export_bundle
from bertbundle_export.errors import CheckpointError
from bertbundle_export.runners import saved_model_runner

pytestmark = pytest.mark.slow

TEXTS = ["Barack Obama was born in Honolulu.", "OK", "今天天气 真不错"]
TRANSFORMER = {"path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"}
POOLING = {"path": "1_Pooling", "type": "sentence_transformers.sentence_transformer.modules.pooling.Pooling"}
NORMALIZE = {"path": "2_Normalize", "type": "sentence_transformers.base.modules.normalize.Normalize"}
PROMPTS = {"prompts": {"query": "query: ", "other": "x "}, "default_prompt_name": "query"}
Write = Callable[..., Path]
Vectors = np.ndarray[Any, Any]


@pytest.fixture
def sentence_transformer(checkpoint: Write) -> Write:
    """Write an encoder with a cased tokenizer, and files of sentence-transformers beside it."""

    def write(pooling: dict[str, Any], *modules: dict[str, str], architecture: str = "BertModel", **files: Any) -> Path:
        path = checkpoint(architecture, name=architecture)
        modules = modules or (TRANSFORMER, POOLING)
        (path / modules[1]["path"]).mkdir()
        contents = {"tokenizer_config": {"do_lower_case": False}, "modules": modules, **files}
        contents[f"{modules[1]['path']}/config"] = pooling
        for name, content in contents.items():
            (path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
        return path

    return write


def vectors(path: Path, texts: Sequence[str], max_length: int) -> Iterator[Vectors]:
    """Yield the vectors of each text's tokens ``[tokens, hidden]`` by transformers' slow tokenizer and TF class."""
    from bertbundle_export.tensorflow_import import transformers

    tokenizer = transformers.BertTokenizer.from_pretrained(str(path))
    model = transformers.TFBertModel.from_pretrained(str(path))
    for text in texts:
        inputs = tokenizer(text, truncation=True, max_length=max_length, return_tensors="tf")
        yield np.asarray(model(dict(inputs), training=False).last_hidden_state[0])


def export(path: Path, output: Path, **options: Any) -> Exported:
    """Export to ONNX, with one signature."""
    return export_bundle(path, name="m", output=output / "m", formats=("onnx",), lengths=(), **options)


def assert_embeddings(path: Path, exported: Exported, pool: Callable[[Vectors], Vectors], texts: Sequence[str]) -> None:
    """Compare the client's embeddings with those of the texts as the model sees them, pooled by numpy."""
    expected = [pool(found) for found in vectors(path, texts, exported.manifest.max_length)]
    with Client.local(exported.path) as client:
        found = client.embed(TEXTS, truncation="truncate")
    np.testing.assert_allclose(np.stack([*found]), np.stack(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("mode", "pool"),
    [
        ("cls", lambda found: found[0]),
        ("mean", lambda found: found.mean(0)),
        ("max", lambda found: found.max(0)),
    ],
)
def test_compact_pooling(sentence_transformer: Write, tmp_path: Path, mode: str, pool: Callable[[Any], Any]) -> None:
    """The pooling of newer versions, which state its name, is the one that the bundle computes."""
    path = sentence_transformer({"pooling_mode": mode, "embedding_dimension": 32, "include_prompt": True})
    assert_embeddings(path, export(path, tmp_path), pool, TEXTS)


def test_folder_of_another_name(sentence_transformer: Write, tmp_path: Path) -> None:
    """The folder of the pooling is the one in modules.json; the embedding is normalized if it says so."""
    path = sentence_transformer({"pooling_mode": "cls"}, TRANSFORMER, {**POOLING, "path": "pooling"}, NORMALIZE)
    assert_embeddings(path, export(path, tmp_path), lambda found: found[0] / np.linalg.norm(found[0]), TEXTS)


@pytest.mark.parametrize("source", ["old", "old/0_BERT"])
def test_old_layout(sentence_transformer: Write, tmp_path: Path, source: str) -> None:
    """An encoder in a folder of its own is found from the directory above it, and the pooling from the encoder."""
    encoder = {"path": "0_BERT", "type": "sentence_transformers.models.BERT"}
    path = sentence_transformer({"pooling_mode_cls_token": True}, encoder, POOLING)
    root = tmp_path / "old"
    shutil.copytree(path, root / "0_BERT", ignore=shutil.ignore_patterns("modules.json", "1_Pooling"))
    shutil.copy(path / "modules.json", root)
    shutil.copytree(path / "1_Pooling", root / "1_Pooling")
    assert_embeddings(path, export(tmp_path / source, tmp_path), lambda found: found[0], TEXTS)


def test_prompt_and_lower_case(sentence_transformer: Write, tmp_path: Path) -> None:
    """The default prompt is in front of every text, texts are lower-cased, and both reach any client."""
    path = sentence_transformer(
        {"pooling_mode": "mean"},
        sentence_bert_config={"max_seq_length": 32, "do_lower_case": True},
        config_sentence_transformers=PROMPTS,
    )
    exported = export(path, tmp_path)
    assert exported.manifest.prompt == "query: "
    assert exported.manifest.max_length == 32
    texts = [f"query: {text}".lower() for text in TEXTS]
    assert_embeddings(path, exported, lambda found: found.mean(0), texts)


def test_other_tasks_have_no_prompt(sentence_transformer: Write) -> None:
    """A prompt is for sentence embeddings; another task of the same directory has none."""
    from bertbundle_export.checkpoints import LoadOptions, load_checkpoint

    path = sentence_transformer({"pooling_mode": "mean"}, config_sentence_transformers=PROMPTS)
    assert load_checkpoint(path, "x", LoadOptions()).prompt == "query: "
    path = sentence_transformer(
        {"pooling_mode": "mean"}, architecture="BertForTokenClassification", config_sentence_transformers=PROMPTS
    )
    assert load_checkpoint(path, "x", LoadOptions()).prompt == ""


# ---- Dense modules

DENSE = {"path": "2_Dense", "type": "sentence_transformers.models.Dense"}
SECOND = {"path": "3_Dense", "type": "sentence_transformers.base.modules.dense.Dense"}
TANH, IDENTITY = "torch.nn.modules.activation.Tanh", "torch.nn.modules.linear.Identity"


def write_dense(path: Path, inputs: int, outputs: int, activation: str, **changes: Any) -> dict[str, Vectors]:
    """Write a Dense module with random weights, and return them."""
    from safetensors.numpy import save_file

    path.mkdir()
    config = {
        "in_features": inputs,
        "out_features": outputs,
        "bias": True,
        "activation_function": activation,
        **changes,
    }
    generator = np.random.default_rng(outputs)
    weights = {"linear.weight": generator.standard_normal((outputs, inputs)).astype(np.float32) / 4}
    if config["bias"]:
        weights["linear.bias"] = generator.standard_normal(outputs).astype(np.float32)
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(weights, str(path / "model.safetensors"))
    return weights


def dense(weights: dict[str, Vectors], vector: Vectors) -> Vectors:
    """Compute x W^T + b, as torch.nn.Linear."""
    result: Vectors = weights["linear.weight"] @ vector + weights.get("linear.bias", 0)
    return result


@pytest.mark.parametrize("normalize", [False, True], ids=["plain", "normalized"])
def test_dense(sentence_transformer: Write, tmp_path: Path, normalize: bool) -> None:
    """Dense modules are computed after the pooling, in every format, and the embedding has their size."""
    last = {"path": "4_Normalize", "type": "sentence_transformers.models.Normalize"}
    path = sentence_transformer(
        {"pooling_mode": "mean"}, TRANSFORMER, POOLING, DENSE, SECOND, *([last] if normalize else [])
    )
    first, second = (
        write_dense(path / "2_Dense", 32, 24, TANH),
        write_dense(path / "3_Dense", 24, 7, IDENTITY, bias=False),
    )

    def pool(found: Vectors) -> Vectors:
        vector = dense(second, np.tanh(dense(first, found.mean(0))))
        return vector / np.linalg.norm(vector) if normalize else vector

    exported = export_bundle(path, name="m", output=tmp_path / "m", lengths=(8,))
    assert_embeddings(path, exported, pool, TEXTS)
    features = InputFeatures("length_8", {spec.name: np.ones((1, 8), np.int32) for spec in exported.manifest.inputs})
    embedding = saved_model_runner(exported.path)(features)["sentence_embedding"]
    assert embedding.shape == (1, 7)
    (spec,) = [spec for spec in exported.manifest.outputs if spec.name == "sentence_embedding"]
    assert spec.shape == ("batch", "7")
    assert not any("dense" in note for note in exported.manifest.notes)


def test_pooling_replaces_dense(sentence_transformer: Write, tmp_path: Path) -> None:
    """With `--pooling`, no Dense module is computed."""
    path = sentence_transformer({"pooling_mode": "mean"}, TRANSFORMER, POOLING, DENSE)
    write_dense(path / "2_Dense", 32, 24, TANH)
    exported = export(path, tmp_path, load=LoadOptions(pooling="cls"))
    assert_embeddings(path, exported, lambda found: found[0], TEXTS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: write_dense(path, 16, 24, TANH), "a Dense module from 16 with the weights .* has the size 32"),
        (
            lambda path: write_dense(path, 32, 24, "torch.nn.modules.activation.ReLU"),
            "Dense with torch.*ReLU, which is",
        ),
        (lambda path: write_dense(path, 32, 24, TANH, module_input_name="x"), "module_input_name 'x', which is not"),
        (lambda path: write_dense(path, 32, 24, TANH, future=1), "future 1, a setting that bertbundle does not know"),
        (lambda path: path.mkdir(), "has no in_features, out_features"),
    ],
    ids=["size", "activation", "input", "unknown", "empty"],
)
def test_dense_that_is_refused(
    sentence_transformer: Write, tmp_path: Path, change: Callable[[Path], object], message: str
) -> None:
    """A Dense module that cannot be computed is refused by name."""
    path = sentence_transformer({"pooling_mode": "mean"}, TRANSFORMER, POOLING, DENSE)
    change(path / "2_Dense")
    with pytest.raises(CheckpointError, match=message):
        export(path, tmp_path)


def test_dense_in_a_pickle(sentence_transformer: Write, tmp_path: Path) -> None:
    """The weights of a Dense module in a pickle need `--allow-pickle`."""
    path = sentence_transformer({"pooling_mode": "mean"}, TRANSFORMER, POOLING, DENSE)
    write_dense(path / "2_Dense", 32, 24, TANH)
    (path / "2_Dense/model.safetensors").rename(path / "2_Dense/pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"2_Dense/pytorch_model\.bin is a PyTorch pickle.* --allow-pickle"):
        export(path, tmp_path)
    (path / "2_Dense/pytorch_model.bin").unlink()
    with pytest.raises(CheckpointError, match="2_Dense has no weights: expected"):
        export(path, tmp_path)
