"""Hugging Face directories whose weights are not all of the model, or are in other files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bertbundle_export.checkpoints import LoadOptions
from bertbundle_export.checkpoints.registry import describe_checkpoint
from bertbundle_export.errors import CheckpointError

CONFIG = {
    "model_type": "bert",
    "vocab_size": 9,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "max_position_embeddings": 8,
}


def describe(path: Path, **options: Any) -> object:
    """Describe a checkpoint without reading its weights."""
    return describe_checkpoint(path, LoadOptions(**options))


@pytest.fixture
def directory(tmp_path: Path) -> Callable[..., Path]:
    """Write a directory with a config.json and other files, empty or with JSON."""

    def write(*names: str, config: Any = CONFIG, **contents: Any) -> Path:
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"")
        for stem, content in {"config": config, **contents}.items():
            if content is not None:
                (tmp_path / f"{stem}.json").write_text(json.dumps(content), encoding="utf-8")
        return tmp_path

    return write


@pytest.mark.parametrize("config", [CONFIG, None], ids=["config", "no-config"])
@pytest.mark.parametrize("files", [["tf_model.h5", "adapter_model.safetensors"], ["adapter_model.safetensors"]])
def test_adapters(directory: Callable[..., Path], config: Any, files: list[str]) -> None:
    """An adapter is refused by name, also beside weights: transformers would add it to them."""
    settings = {"peft_type": "LORA", "base_model_name_or_path": "bert-base-cased"}
    path = directory(*files, config=config, adapter_config=settings)
    with pytest.raises(CheckpointError, match=r"PEFT adapter \(LORA\) of the model 'bert-base-cased', .* Merge them"):
        describe(path)


def test_classifier_of_setfit(directory: Callable[..., Path]) -> None:
    """The encoder of a SetFit model is exported only if the user asks for its embeddings."""
    path = directory("tf_model.h5", "model_head.pkl")
    with pytest.raises(
        CheckpointError, match=r"model_head.pkl, the classifier of SetFit, .* --task feature-extraction"
    ):
        describe(path)
    describe(path, task="feature-extraction")


def test_preset_of_keras_hub(directory: Callable[..., Path]) -> None:
    """A preset of keras-hub is refused by name, with the call that writes what is read."""
    config = {"module": "keras_hub.src.models.bert.bert_backbone", "class_name": "BertBackbone", "config": {}}
    path = directory("model.weights.h5", "assets/tokenizer/vocabulary.txt", config=config)
    with pytest.raises(CheckpointError, match="a preset of keras-hub with a BertBackbone, which"):
        describe(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("flax_model.msgpack", r"found flax_model.msgpack. Weights of Flax must be converted"),
        ("onnx/model.onnx", r"found onnx/model.onnx. A bundle cannot be made from ONNX files"),
        (
            "model.fp16.safetensors",
            r"found model.fp16.safetensors. If it has all weights, rename it to model.safetensors",
        ),
        ("best.pt", r"found best.pt. If it is a state dict, rename it to pytorch_model.bin"),
        ("README.md", "or pytorch_model.bin, or an index of shards"),
    ],
)
def test_other_weights(directory: Callable[..., Path], name: str, message: str) -> None:
    """A directory without readable weights says what it has instead, and what can be done with it."""
    with pytest.raises(CheckpointError, match=message):
        describe(directory(name))
