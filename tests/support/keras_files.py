"""Write the .h5 files of Keras packages by their exact names and layouts, from weights under PyTorch's names.

Source of the names: files that keras-bert 0.89.0, bert-for-tf2 0.14.9 and transformers 4.57 wrote on tf_keras 2.21.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from tiny_checkpoints import Weights, pytorch_weights, vocabulary

CONFIG: Mapping[str, Any] = {
    "vocab_size": len(vocabulary()),
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 48,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
}
"""A bert_config.json in Google's terms."""

_PARTS = ("embeddings", "encoder", "pooler")
_GOOGLE = (*CONFIG, "hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range")

Naming: TypeAlias = Callable[[str], tuple[str, str]]
"""Gives the layer's group in the file and the variable's name, of PyTorch's name of a weight."""


def random_weights(config: Mapping[str, Any] = CONFIG, *, seed: int = 0) -> Weights:
    """Return weights of a BERT with a pooler under PyTorch's names, the same everywhere."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    dense = {"attention.self.query": (hidden, hidden), "attention.self.key": (hidden, hidden)}
    dense |= {"attention.self.value": (hidden, hidden), "attention.output.dense": (hidden, hidden)}
    dense |= {"intermediate.dense": (inner, hidden), "output.dense": (hidden, inner)}
    shapes: dict[str, tuple[int, ...]] = {
        "bert.embeddings.word_embeddings.weight": (config["vocab_size"], hidden),
        "bert.embeddings.token_type_embeddings.weight": (config["type_vocab_size"], hidden),
        "bert.embeddings.position_embeddings.weight": (config["max_position_embeddings"], hidden),
        "bert.embeddings.LayerNorm.weight": (hidden,),
        "bert.embeddings.LayerNorm.bias": (hidden,),
    }
    for layer in range(config["num_hidden_layers"]):
        stem = f"bert.encoder.layer.{layer}"
        for name, shape in dense.items():
            shapes |= {f"{stem}.{name}.weight": shape, f"{stem}.{name}.bias": shape[:1]}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{stem}.{name}.weight": (hidden,), f"{stem}.{name}.bias": (hidden,)}
    shapes |= {"bert.pooler.dense.weight": (hidden, hidden), "bert.pooler.dense.bias": (hidden,)}
    generator = np.random.default_rng(seed)
    return {name: (0.3 * generator.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}


def head_weights(layer: str, columns: int, hidden: int = 32) -> Weights:
    """Return a Dense layer's weights, whatever the layer is called."""
    generator = np.random.default_rng(1)
    kernel = generator.standard_normal((columns, hidden)).astype(np.float32)
    return {f"{layer}.weight": kernel, f"{layer}.bias": generator.standard_normal(columns).astype(np.float32)}


def write_beside(path: Path, config: Mapping[str, Any] = CONFIG, *, name: str = "bert_config.json") -> None:
    """Write the configuration and the vocabulary into a file's directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / name).write_text(json.dumps(dict(config)), encoding="utf-8")
    (path.parent / "vocab.txt").write_text("\n".join(vocabulary()) + "\n", encoding="utf-8")


def write_h5(path: Path, weights: Weights, naming: Naming, *, model_config: Mapping[str, Any] | None = None) -> Path:
    """Write weights as Keras does: a group per layer, whole models below ``model_weights``; return the path."""
    import h5py

    named = {naming(name): _keras_layout(name, value) for name, value in weights.items()}
    with h5py.File(path, "w") as file:
        root = file if model_config is None else file.create_group("model_weights")
        if model_config is not None:
            file.attrs["model_config"] = json.dumps(model_config)
        root.attrs["layer_names"] = sorted({group for group, _ in named})
        for group in root.attrs["layer_names"]:
            names = [f"{name}:0" for layer, name in named if layer == group]
            root.create_group(group).attrs["weight_names"] = names
        for (group, name), value in named.items():
            root[group][f"{name}:0"] = value
    return path


def _keras_layout(name: str, value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return value if value.ndim != 2 or "_embeddings" in name else value.T


def _leaf(name: str, *, embeddings: str = "embeddings") -> str:
    """Give the last part of a variable's name: gamma and beta of a normalisation, kernel and bias of the rest."""
    if "LayerNorm" in name:
        return "gamma" if name.endswith("weight") else "beta"
    if "_embeddings" in name:
        return embeddings
    return "kernel" if name.endswith("weight") else "bias"


def _layer_and_rest(name: str) -> tuple[int | None, str]:
    match = re.fullmatch(r"bert\.encoder\.layer\.(\d+)\.(.+)\.(weight|bias)", name)
    return (int(match[1]), match[2]) if match else (None, name.rpartition(".")[0].removeprefix("bert."))


# ---- transformers' TFBertMainLayer


def main_layer(layer: str = "bert", *, scope: str = "") -> Naming:
    """Name as a functional model around TFBertMainLayer does, or (`scope`) a class of that name."""

    def naming(name: str) -> tuple[str, str]:
        number, part = _layer_and_rest(name)
        leaf = _leaf(name, embeddings="weight" if "word_embeddings" in name else "embeddings")
        own = name.startswith("bert.")
        stem = f"{layer}/encoder/layer_._{number}/" if number is not None else f"{layer}/" if own else ""
        variable = f"{scope}{stem}{part.replace('.', '/')}/{leaf}"
        return (layer if own else part.partition(".")[0]), variable

    return naming


# ---- keras-bert

_KERAS_BERT_LETTERS = {
    "attention.self.query": "MultiHeadSelfAttention_?q",
    "attention.self.key": "MultiHeadSelfAttention_?k",
    "attention.self.value": "MultiHeadSelfAttention_?v",
    "attention.output.dense": "MultiHeadSelfAttention_?o",
    "intermediate.dense": "FeedForward_?1",
    "output.dense": "FeedForward_?2",
}
_KERAS_BERT_LAYERS = {
    "attention.output.LayerNorm": "MultiHeadSelfAttention-Norm",
    "output.LayerNorm": "FeedForward-Norm",
    "embeddings.word_embeddings": "Embedding-Token",
    "embeddings.token_type_embeddings": "Embedding-Segment",
    "embeddings.position_embeddings": "Embedding-Position",
    "embeddings.LayerNorm": "Embedding-Norm",
    "pooler.dense": "NSP-Dense",
    "cls.predictions.transform.dense": "MLM-Dense",
    "cls.predictions.transform.LayerNorm": "MLM-Norm",
    "cls.predictions": "MLM-Sim",
}


def keras_bert(name: str) -> tuple[str, str]:
    """Name as keras-bert does; its layers count from 1."""
    number, part = _layer_and_rest(name)
    before = f"Encoder-{number + 1}-" if number is not None else ""
    if part in _KERAS_BERT_LETTERS:
        layer, _, letter = _KERAS_BERT_LETTERS[part].partition("_?")
        kind = "W" if name.endswith("weight") else "b"
        return f"{before}{layer}", f"{before}{layer}/{before}{layer}_{kind}{letter}"
    layer = before + _KERAS_BERT_LAYERS.get(part, part)
    return layer, f"{layer}/{_leaf(name)}"


# ---- bert-for-tf2


def bert_for_tf2(layer: str = "bert") -> Naming:
    """Name as a model around bert-for-tf2's BertModelLayer does; it has no pooler."""

    def naming(name: str) -> tuple[str, str]:
        number, part = _layer_and_rest(name)
        part = part.replace(".", "/")
        if not name.startswith("bert."):
            return part, f"{part}/{_leaf(name)}"
        part = "intermediate" if part == "intermediate/dense" else part
        stem = f"encoder/layer_{number}/" if number is not None else ""
        return layer, f"{layer}/{stem}{part}/{_leaf(name)}"

    return naming


# ---- keras-hub

_HUB_LAYERS = {
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
    """Write a .keras archive of keras-hub's BertBackbone, or (`classes`) BertTextClassifier; return its path."""
    import h5py

    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        for name, value in weights.items():
            number, part = _layer_and_rest(name)
            layer = f"transformer_encoder{f'_{number}' if number else ''}/" if number is not None else ""
            own = name.startswith("bert.")
            scope = "layers/bert_backbone/layers/" if own and classes else "layers/"
            stem = f"{scope}{layer}{_HUB_LAYERS[part] if own else 'dense'}"
            file[f"{stem}/vars/{int(name.endswith('bias'))}"] = _hub_layout(part, _keras_layout(name, value), config)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.15.1"}')
        archive.writestr("config.json", json.dumps(_hub_config(config, classes)))
        archive.writestr("model.weights.h5", memory.getvalue())
    return path


def _hub_layout(part: str, value: np.ndarray[Any, Any], config: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """Give the projections of attention their axis of heads."""
    heads = config["num_attention_heads"]
    if part.startswith("attention.self."):
        return value.reshape(*value.shape[:-1], heads, -1)
    return value.reshape(heads, -1, value.shape[-1]) if part == "attention.output.dense" and value.ndim == 2 else value


def _hub_config(config: Mapping[str, Any], classes: int) -> dict[str, Any]:
    settings = {
        "vocabulary_size": config["vocab_size"],
        "num_layers": config["num_hidden_layers"],
        "num_heads": config["num_attention_heads"],
        "hidden_dim": config["hidden_size"],
        "intermediate_dim": config["intermediate_size"],
        "max_sequence_length": config["max_position_embeddings"],
        "num_segments": config["type_vocab_size"],
    }
    backbone = _hub_class("bert_backbone", "BertBackbone", {"name": "bert_backbone", **settings})
    if not classes:
        return backbone
    own = {"backbone": backbone, "preprocessor": None, "num_classes": classes}
    return _hub_class("bert_text_classifier", "BertTextClassifier", own)


def _hub_class(module: str, name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "module": f"keras_hub.src.models.bert.{module}",
        "class_name": name,
        "config": dict(config),
        "registered_name": f"keras_hub>{name}",
    }


def as_archive(path: Path, directory: Path) -> tuple[Path, dict[str, Any]]:
    """Rewrite as an archive of keras-hub."""
    write_beside(directory / "model.keras", name="unused.json")
    shutil.copy(path / "vocab.txt", directory / "vocab.txt")
    config, weights = _config(path), checkpoint_weights(path)
    classes = len(weights["classifier.bias"]) if "classifier.bias" in weights else 0
    return write_archive(directory / "model.keras", weights, config=config, classes=classes), {}


# ---- a Hugging Face directory in these forms: the file and the load options it needs


def as_keras_h5(path: Path, directory: Path) -> tuple[Path, dict[str, Any]]:
    """Rewrite as the weights of a functional model, or, with the head of pre-training, of transformers' own class."""
    masked = "BertForMaskedLM" in _config(path)["architectures"]
    naming = main_layer(scope="tf_bert_for_masked_lm/") if masked else main_layer()
    return _rewrite(path, directory, naming, "config.json")


def as_keras_bert(path: Path, directory: Path) -> tuple[Path, dict[str, Any]]:
    """Rewrite as the weights of a keras-bert model."""
    return _rewrite(path, directory, keras_bert, "bert_config.json")


def as_bert_for_tf2(path: Path, directory: Path) -> tuple[Path, dict[str, Any]]:
    """Rewrite as the weights of a model around BertModelLayer, which has no pooler."""
    return _rewrite(path, directory, bert_for_tf2(), "bert_config.json", without="pooler")


def _config(path: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((path / "config.json").read_text(encoding="utf-8"))
    return config


def _rewrite(
    path: Path, directory: Path, naming: Naming, config_name: str, *, without: str = "nothing"
) -> tuple[Path, dict[str, Any]]:
    """Write the file, and a configuration that says nothing of the head: that is for the load options to do."""
    config = _config(path)
    file = directory / "model.h5"
    write_beside(file, {key: value for key, value in config.items() if key in _GOOGLE}, name=config_name)
    shutil.copy(path / "vocab.txt", directory / "vocab.txt")
    weights = {_other_head(name): value for name, value in checkpoint_weights(path).items() if without not in name}
    return write_h5(file, weights, naming), {}


def checkpoint_weights(path: Path) -> Weights:
    """Return the weights of a Hugging Face directory, as every class of transformers names them: with ``bert.``."""
    from safetensors.numpy import load_file

    file = path / "model.safetensors"
    weights = load_file(str(file)) if file.is_file() else pytorch_weights(path)
    kept = {name: value for name, value in weights.items() if "position_ids" not in name}
    return {f"bert.{name}" if name.split(".")[0] in _PARTS else name: value for name, value in kept.items()}


def _other_head(name: str) -> str:
    """Call the head as no class of transformers does."""
    return re.sub(r"^(classifier|qa_outputs)\.", "my_logits.", name)


def example_inputs(length: int = 12) -> dict[str, np.ndarray[Any, Any]]:
    """Return a batch of two texts, the second one padded."""
    ids = np.arange(2 * length, dtype=np.int32).reshape(2, length) % 40 + 5
    ids[1, length - 4 :] = 0
    types = np.zeros_like(ids)
    types[0, length // 2 :] = 1
    return {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int32), "token_type_ids": types}
