"""Write bert4keras files with a head of its own layers, and compute such heads in numpy.

Source of the names and layouts: files that bert4keras 0.11.5 wrote on TensorFlow 2.13.1, whose Keras numbers the Dense
layers of a process. Source of the computation: Su et al., "Global Pointer", arXiv:2208.03054, equations 1 to 8.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from keras_files import CONFIG, bert4keras, random_weights, write_beside, write_h5
from tiny_checkpoints import Weights

Array: TypeAlias = np.ndarray[Any, Any]
LAST = "Transformer-1-FeedForward-Norm"
HIDDEN = int(CONFIG["hidden_size"])


def pointer_weights(labels: int, size: int, *, layer: str = "global_pointer", bias: bool = True) -> Weights:
    """Return random variables of a GlobalPointer, by the names in a file, in Keras' layout."""
    shapes = {f"{layer}/dense_13/kernel": (HIDDEN, 2 * labels * size), f"{layer}/dense_13/bias": (2 * labels * size,)}
    return _random({name: shape for name, shape in shapes.items() if bias or "bias" not in name})


def efficient_weights(labels: int, size: int) -> Weights:
    """Return random variables of an EfficientGlobalPointer; the order of the names is that of its layers' numbers."""
    layer = "efficient_global_pointer_1"
    return _random(
        {
            f"{layer}/dense_10/kernel": (2 * size, 2 * labels),
            f"{layer}/dense_10/bias": (2 * labels,),
            f"{layer}/dense_9/kernel": (HIDDEN, 2 * size),
            f"{layer}/dense_9/bias": (2 * size,),
        }
    )


def crf_weights(labels: int, *, multiplier: float = 1.0) -> Weights:
    """Return random variables of a Dense layer and a CRF, whose stored transitions are divided by a multiplier."""
    crf = "conditional_random_field/trans"
    shapes = {"dense_13/kernel": (HIDDEN, labels), "dense_13/bias": (labels,), crf: (labels, labels)}
    values = _random(shapes)
    return {**values, crf: values[crf] / np.float32(multiplier)}


def _random(shapes: Mapping[str, tuple[int, ...]]) -> Weights:
    generator = np.random.default_rng(5)
    return {name: (0.5 * generator.standard_normal(shapes[name])).astype(np.float32) for name in sorted(shapes)}


def encoder_weights() -> Weights:
    """Return random weights of BERT with PyTorch's names, whose token vectors differ as much as trained ones."""
    return {name: value + np.float32(name.endswith("LayerNorm.weight")) for name, value in random_weights().items()}


def write_bert4keras(
    path: Path, head: Weights, *, encoder: Weights | None = None, layers: list[dict[str, Any]] | None = None
) -> Path:
    """Write a file, with a configuration and a vocabulary beside it; return its path.

    Args:
        path: of the file.
        head: the variables of the head.
        encoder: weights of BERT with PyTorch's names; None for random ones.
        layers: the layers of the head in the configuration of a whole model; None for a file of weights.
    """
    write_beside(path)
    weights = {**(encoder or encoder_weights()), **{name: value.T for name, value in head.items()}}

    def naming(name: str) -> tuple[str, str]:
        return (name.partition("/")[0], name) if name in head else bert4keras(name)

    return write_h5(path, weights, naming, model_config=None if layers is None else whole_model(layers))


def layer(kind: str, name: str, source: str | None, **config: Any) -> dict[str, Any]:
    """Return the configuration of a layer in a whole model."""
    nodes = [[[source, 0, 0, {}]]] if source else []
    return {"class_name": kind, "config": {"name": name, **config}, "name": name, "inbound_nodes": nodes}


def whole_model(head: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the configuration that bert4keras stores, of the layers that the export reads, and a head."""
    activation = [{"module": "builtins", "class_name": "function", "config": "gelu_erf"}]
    encoder = [
        layer("LayerNormalization", "Embedding-Norm", None, epsilon=1e-12),
        layer("MultiHeadAttention", "Transformer-0-MultiHeadSelfAttention", "Embedding-Norm", heads=2),
        layer("FeedForward", "Transformer-0-FeedForward", "Embedding-Norm", activation=activation),
        layer("LayerNormalization", LAST, "Embedding-Norm"),
    ]
    return {"class_name": "Functional", "config": {"layers": [*encoder, *head]}}


# ---- in numpy


def pointer_logits(vectors: Array, weights: Weights, labels: int, *, rotary: bool = True) -> Array:
    """Return the logits ``[labels, length, length]`` of a GlobalPointer for token vectors ``[length, hidden]``."""
    kernel = next(value for name, value in weights.items() if name.endswith("/kernel"))
    bias = next((value for name, value in weights.items() if name.endswith("/bias")), np.zeros(kernel.shape[1]))
    parts = np.split((vectors @ kernel + bias).astype(np.float64), 2 * labels, axis=1)
    return np.stack([_scores(parts[2 * label], parts[2 * label + 1], rotary) for label in range(labels)])


def efficient_logits(vectors: Array, weights: Weights, labels: int, *, rotary: bool = True) -> Array:
    """Return the same of an EfficientGlobalPointer."""
    first, second = ("dense_9", "dense_10")
    named = {name.partition("/")[2]: value for name, value in weights.items()}
    pairs = vectors @ named[f"{first}/kernel"] + named[f"{first}/bias"]
    ends = pairs @ named[f"{second}/kernel"] + named[f"{second}/bias"]
    scores = _scores(pairs[:, 0::2], pairs[:, 1::2], rotary)
    return np.stack(
        [scores + ends[:, 2 * label + 1, None] / 2 + ends[None, :, 2 * label] / 2 for label in range(labels)]
    )


def _scores(queries: Array, keys: Array, rotary: bool) -> Array:
    size = queries.shape[1]
    if rotary:
        queries, keys = rotate(queries), rotate(keys)
    return np.asarray(queries @ keys.T / np.sqrt(size))


def rotate(vectors: Array) -> Array:
    """Multiply each pair of columns, as a complex number, by a root of unity for its position (RoFormer, eq. 13)."""
    length, size = vectors.shape
    angles = np.arange(length)[:, None] * 10000.0 ** (-np.arange(0, size, 2) / size)
    rotated = (vectors[:, 0::2] + 1j * vectors[:, 1::2]) * np.exp(1j * angles)
    return np.stack([rotated.real, rotated.imag], axis=2).reshape(length, size)
