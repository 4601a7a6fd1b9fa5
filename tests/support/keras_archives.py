"""Write .keras archives with the exact names and layouts of keras-hub, from weights with PyTorch's names."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_files import CONFIG, checkpoint_weights, keras_layout, layer_and_part, read_config, write_beside
from tiny_checkpoints import Weights

_LAYERS = {
    "embeddings.word_embeddings": "reversible_embedding",
    "embeddings.token_type_embeddings": "embedding",
    "embeddings.position_embeddings": "position_embedding",
    "embeddings.LayerNorm": "layer_normalization",
    "pooler.dense": "dense",
    "attention.self.query": "_self_attention_layer/query_dense",
    "attention.self.key": "_self_attention_layer/key_dense",
    "attention.self.value": "_self_attention_layer/value_dense",
    "attention.output.dense": "_self_attention_layer/output_dense",
    "attention.output.LayerNorm": "_self_attention_layer_norm",
    "intermediate.dense": "_feedforward_intermediate_dense",
    "output.dense": "_feedforward_output_dense",
    "output.LayerNorm": "_feedforward_layer_norm",
}


def write_archive(path: Path, weights: Weights, *, config: Mapping[str, Any] = CONFIG, classes: int = 0) -> Path:
    """Write a .keras archive of keras-hub's BertBackbone, or with `classes` BertTextClassifier; return its path."""
    import h5py

    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        for name, value in weights.items():
            number, part = layer_and_part(name)
            layer = f"transformer_encoder{f'_{number}' if number else ''}/" if number is not None else ""
            is_encoder = name.startswith("bert.")
            scope = "layers/bert_backbone/layers/" if is_encoder and classes else "layers/"
            stem = f"{scope}{layer}{_LAYERS[part] if is_encoder else 'dense'}"
            file[f"{stem}/vars/{int(name.endswith('bias'))}"] = _layout(part, keras_layout(name, value), config)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.15.1"}')
        archive.writestr("config.json", json.dumps(_model_config(config, classes)))
        archive.writestr("model.weights.h5", memory.getvalue())
    return path


def _layout(part: str, value: np.ndarray[Any, Any], config: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """Add the axis of heads to the projections of attention."""
    heads = config["num_attention_heads"]
    if part.startswith("attention.self."):
        return value.reshape(*value.shape[:-1], heads, -1)
    return value.reshape(heads, -1, value.shape[-1]) if part == "attention.output.dense" and value.ndim == 2 else value


def _model_config(config: Mapping[str, Any], classes: int) -> dict[str, Any]:
    sizes = {
        "vocabulary_size": config["vocab_size"],
        "num_layers": config["num_hidden_layers"],
        "num_heads": config["num_attention_heads"],
        "hidden_dim": config["hidden_size"],
        "intermediate_dim": config["intermediate_size"],
        "max_sequence_length": config["max_position_embeddings"],
        "num_segments": config["type_vocab_size"],
    }
    backbone = _class_config("bert_backbone", "BertBackbone", {"name": "bert_backbone", **sizes})
    if not classes:
        return backbone
    settings = {"backbone": backbone, "preprocessor": None, "num_classes": classes}
    return _class_config("bert_text_classifier", "BertTextClassifier", settings)


def _class_config(module: str, name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "module": f"keras_hub.src.models.bert.{module}",
        "class_name": name,
        "config": dict(config),
        "registered_name": f"keras_hub>{name}",
    }


def as_archive(path: Path, directory: Path) -> tuple[Path, dict[str, Any]]:
    """Rewrite a Hugging Face directory as an archive; return it and the options to export it with."""
    write_beside(directory / "model.keras", name="unused.json")
    shutil.copy(path / "vocab.txt", directory / "vocab.txt")
    config, weights = read_config(path), checkpoint_weights(path)
    classes = len(weights["classifier.bias"]) if "classifier.bias" in weights else 0
    return write_archive(directory / "model.keras", weights, config=config, classes=classes), {}
