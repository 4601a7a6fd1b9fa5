"""Write .h5 files with the exact names and layouts of Keras packages, from weights with PyTorch's names.

Source of the names: files that keras-bert 0.89.0, bert-for-tf2 0.14.9 and transformers 4.57 wrote on tf_keras 2.21.
"""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from bertbundle_export import LoadOptions
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
"""A bert_config.json as in Google's checkpoints."""

_ENCODER_PARTS = ("embeddings", "encoder", "pooler")
_GOOGLE_SETTINGS = (*CONFIG, "hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range")

Naming: TypeAlias = Callable[[str], tuple[str, str]]
"""Return the layer's group in the file and the variable's name, for PyTorch's name of a weight."""


def random_weights(config: Mapping[str, Any] = CONFIG, *, pooler: bool = True) -> Weights:
    """Return reproducible random weights of a BERT, with PyTorch's names."""
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
    generator = np.random.default_rng(0)
    weights = {name: (0.3 * generator.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}
    return {name: value for name, value in weights.items() if pooler or "pooler" not in name}


def head_weights(layer: str, columns: int, hidden: int = 32) -> Weights:
    """Return random weights of a Dense layer of any name."""
    generator = np.random.default_rng(1)
    kernel = generator.standard_normal((columns, hidden)).astype(np.float32)
    return {f"{layer}.weight": kernel, f"{layer}.bias": generator.standard_normal(columns).astype(np.float32)}


def write_beside(path: Path, config: Mapping[str, Any] = CONFIG, *, name: str = "bert_config.json") -> None:
    """Write the configuration and the vocabulary to the directory of a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / name).write_text(json.dumps(dict(config)), encoding="utf-8")
    (path.parent / "vocab.txt").write_text("\n".join(vocabulary()) + "\n", encoding="utf-8")


def write_h5(path: Path, weights: Weights, naming: Naming, *, model_config: Mapping[str, Any] | None = None) -> Path:
    """Write weights as Keras does: a group per layer, whole models below ``model_weights``; return the path."""
    import h5py

    named = {naming(name): keras_layout(name, value) for name, value in weights.items()}
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


def keras_layout(name: str, value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Convert a weight from PyTorch's layout to Keras'."""
    return value if value.ndim != 2 or "_embeddings" in name else value.T


def _leaf(name: str, *, embeddings: str = "embeddings") -> str:
    """Return the last part of a variable's name: gamma or beta for a normalization, else kernel or bias."""
    if "LayerNorm" in name:
        return "gamma" if name.endswith("weight") else "beta"
    if "_embeddings" in name:
        return embeddings
    return "kernel" if name.endswith("weight") else "bias"


def layer_and_part(name: str) -> tuple[int | None, str]:
    """Return the number of the layer, or None, and the rest of PyTorch's name without "weight" or "bias"."""
    match = re.fullmatch(r"bert\.encoder\.layer\.(\d+)\.(.+)\.(weight|bias)", name)
    return (int(match[1]), match[2]) if match else (None, name.rpartition(".")[0].removeprefix("bert."))


# ---- transformers' TFBertMainLayer


def main_layer(layer: str = "bert", *, scope: str = "") -> Naming:
    """Return the names of a functional model around TFBertMainLayer, or, with `scope`, of a class of that name."""

    def naming(name: str) -> tuple[str, str]:
        number, part = layer_and_part(name)
        leaf = _leaf(name, embeddings="weight" if "word_embeddings" in name else "embeddings")
        is_encoder = name.startswith("bert.")
        stem = f"{layer}/encoder/layer_._{number}/" if number is not None else f"{layer}/" if is_encoder else ""
        variable = f"{scope}{stem}{part.replace('.', '/')}/{leaf}"
        return (layer if is_encoder else part.partition(".")[0]), variable

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
    """Return the names of keras-bert, whose layers count from 1."""
    number, part = layer_and_part(name)
    prefix = f"Encoder-{number + 1}-" if number is not None else ""
    if part in _KERAS_BERT_LETTERS:
        layer, _, letter = _KERAS_BERT_LETTERS[part].partition("_?")
        kind = "W" if name.endswith("weight") else "b"
        return f"{prefix}{layer}", f"{prefix}{layer}/{prefix}{layer}_{kind}{letter}"
    layer = prefix + _KERAS_BERT_LAYERS.get(part, part)
    return layer, f"{layer}/{_leaf(name)}"


# ---- bert4keras

_BERT4KERAS_DENSE = {
    "attention.self.query": ("MultiHeadSelfAttention", 0),
    "attention.self.key": ("MultiHeadSelfAttention", 1),
    "attention.self.value": ("MultiHeadSelfAttention", 2),
    "attention.output.dense": ("MultiHeadSelfAttention", 3),
    "intermediate.dense": ("FeedForward", 0),
    "output.dense": ("FeedForward", 1),
}
_BERT4KERAS_LAYERS = _KERAS_BERT_LAYERS | {"pooler.dense": "Pooler-Dense", "cls.predictions": "MLM-Bias"}


def bert4keras(name: str) -> tuple[str, str]:
    """Return the names of bert4keras, whose layers count from 0. Keras numbers the Dense layers within them."""
    number, part = layer_and_part(name)
    prefix = f"Transformer-{number}-" if number is not None else ""
    if part in _BERT4KERAS_DENSE:
        layer, index = _BERT4KERAS_DENSE[part]
        first = 1 + 6 * int(number or 0) + (4 if layer == "FeedForward" else 0)  # as in a process with another model
        return f"{prefix}{layer}", f"{prefix}{layer}/dense_{first + index}/{_leaf(name)}"
    layer = prefix + _BERT4KERAS_LAYERS.get(part, part)
    return layer, f"{layer}/{'beta' if layer == 'MLM-Bias' else _leaf(name)}"


# ---- bert-for-tf2


def bert_for_tf2(layer: str = "bert") -> Naming:
    """Return the names of a model around bert-for-tf2's BertModelLayer, which has no pooler."""

    def naming(name: str) -> tuple[str, str]:
        number, part = layer_and_part(name)
        part = part.replace(".", "/")
        if not name.startswith("bert."):
            return part, f"{part}/{_leaf(name)}"
        part = "intermediate" if part == "intermediate/dense" else part
        stem = f"encoder/layer_{number}/" if number is not None else ""
        return layer, f"{layer}/{stem}{part}/{_leaf(name)}"

    return naming


NAMINGS: Mapping[str, Naming] = {
    "keras-h5": main_layer(),
    "keras-bert": keras_bert,
    "bert4keras": bert4keras,
    "bert-for-tf2": bert_for_tf2(),
}
"""The names of each format."""


# ---- a Hugging Face directory rewritten in these formats: each returns the file and the options to export it with


def as_keras_h5(path: Path, directory: Path) -> tuple[Path, dict[str, Any]]:
    """Rewrite as the weights of a functional model, or of transformers' own class for a masked language model."""
    masked = "BertForMaskedLM" in read_config(path)["architectures"]
    naming = main_layer(scope="tf_bert_for_masked_lm/") if masked else main_layer()
    return _rewrite(path, directory, naming, "config.json")


def as_keras_bert(path: Path, directory: Path) -> tuple[Path, dict[str, Any]]:
    """Rewrite as the weights of a keras-bert model."""
    return _rewrite(path, directory, keras_bert, "bert_config.json")


def as_bert4keras(path: Path, directory: Path) -> tuple[Path, dict[str, Any]]:
    """Rewrite as the weights of a bert4keras model."""
    return _rewrite(path, directory, bert4keras, "bert_config.json")


def as_bert_for_tf2(path: Path, directory: Path) -> tuple[Path, dict[str, Any]]:
    """Rewrite as the weights of a model around BertModelLayer, which has no pooler."""
    return _rewrite(path, directory, bert_for_tf2(), "bert_config.json", without="pooler")


def as_saved_model(path: Path, directory: Path) -> tuple[Path, dict[str, Any]]:
    """Save the class of transformers as Keras' SavedModel; configuration and tokenizer stay where they are."""
    from bertbundle_export.tensorflow_import import transformers

    (architecture,) = read_config(path)["architectures"]
    model = getattr(transformers, f"TF{architecture}").from_pretrained(str(path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Keras, while it saves
        model.save(str(directory), save_format="tf")
    return directory, {"load": LoadOptions(config=path, tokenizer=path)}


def read_config(path: Path) -> dict[str, Any]:
    """Return the config.json of a directory."""
    config: dict[str, Any] = json.loads((path / "config.json").read_text(encoding="utf-8"))
    return config


def _rewrite(
    path: Path, directory: Path, naming: Naming, config_name: str, *, without: str | None = None
) -> tuple[Path, dict[str, Any]]:
    """Write the file, and a configuration without the head's settings, which the load options must state."""
    config = read_config(path)
    file = directory / "model.h5"
    write_beside(file, {key: value for key, value in config.items() if key in _GOOGLE_SETTINGS}, name=config_name)
    shutil.copy(path / "vocab.txt", directory / "vocab.txt")
    weights = {
        _rename_head(name): value
        for name, value in checkpoint_weights(path).items()
        if without is None or without not in name
    }
    return write_h5(file, weights, naming), {}


def checkpoint_weights(path: Path) -> Weights:
    """Return the weights of a Hugging Face directory, with the prefix ``bert.`` for those of the encoder."""
    from safetensors.numpy import load_file

    file = path / "model.safetensors"
    weights = load_file(str(file)) if file.is_file() else pytorch_weights(path)
    kept = {name: value for name, value in weights.items() if "position_ids" not in name}
    return {f"bert.{name}" if name.split(".")[0] in _ENCODER_PARTS else name: value for name, value in kept.items()}


def _rename_head(name: str) -> str:
    """Give the head's layer a name that no class of transformers uses."""
    return re.sub(r"^(classifier|qa_outputs)\.", "my_logits.", name)
