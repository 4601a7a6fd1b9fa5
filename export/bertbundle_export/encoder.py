"""BERT's encoder as its weights: what the graphs made for inference are built from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["MASKED", "Encoder", "EncoderLayer", "Weight", "as_array", "read_encoder"]

Weight: TypeAlias = Any
"""A float32 array, or a Keras variable: those stay where they are, a copy of a BERT-large is 1.3 GB."""

MASKED = -10000.0
"""Added to the score of a padded position before the softmax, as transformers' TFBertMainLayer does."""


@dataclass(frozen=True, slots=True)
class EncoderLayer:
    """One layer's weights, float32. H is the hidden size, I the intermediate size; kernels are ``[in, out]``.

    Attributes:
        qkv, qkv_bias: query, key and value side by side, ``[H, 3 H]`` and ``[3 H]``.
        out, out_bias: what follows the attention, ``[H, H]`` and ``[H]``.
        attention_gamma, attention_beta: its layer normalisation, ``[H]``.
        up, up_bias: ``[H, I]`` and ``[I]``; the activation follows.
        down, down_bias: ``[I, H]`` and ``[H]``.
        gamma, beta: the last layer normalisation, ``[H]``.
    """

    qkv: Weight
    qkv_bias: Weight
    out: Weight
    out_bias: Weight
    attention_gamma: Weight
    attention_beta: Weight
    up: Weight
    up_bias: Weight
    down: Weight
    down_bias: Weight
    gamma: Weight
    beta: Weight


@dataclass(frozen=True, slots=True)
class Encoder:
    """Embeddings and layers.

    Attributes:
        words, positions, types: embedding tables, ``[size, H]``.
        gamma, beta: layer normalisation of their sum, ``[H]``.
        layers: the layers.
        heads: attention heads.
        epsilon: of every layer normalisation.
        activation: "gelu", "gelu_new" or "relu".
    """

    words: Weight
    positions: Weight
    types: Weight
    gamma: Weight
    beta: Weight
    layers: tuple[EncoderLayer, ...]
    heads: int
    epsilon: float
    activation: str

    @property
    def hidden_size(self) -> int:
        """Size of a token's vector."""
        return int(self.words.shape[1])

    @property
    def scale(self) -> float:
        """What attention scores are multiplied by."""
        return 1 / math.sqrt(self.hidden_size // self.heads)


def as_array(weight: Weight) -> npt.NDArray[np.float32]:
    """Return a weight's values."""
    array: npt.NDArray[np.float32] = weight if isinstance(weight, np.ndarray) else weight.numpy()
    return array


# Keras activations by transformers' name that all the graphs know.
_ACTIVATIONS = ("gelu", "gelu_new", "relu")
# Where the parts of a layer that is what it seems to be are defined.
_MODULES = ("transformers.models.bert.modeling_tf_bert", "tf_keras")


def read_encoder(layer: Any) -> Encoder | None:
    """Read a built TFBertMainLayer.

    Returns:
        Its weights; None if it is not exactly that: a decoder, another activation, parts of the user's own, or another
        precision.
    """
    activation = _activation(layer)
    if activation is None or not _is_plain(layer):
        return None
    embeddings = layer.embeddings
    return Encoder(
        words=embeddings.weight,
        positions=embeddings.position_embeddings,
        types=embeddings.token_type_embeddings,
        **_normalization(embeddings.LayerNorm, ""),
        layers=tuple(_read_layer(item) for item in layer.encoder.layer),
        heads=layer.config.num_attention_heads,
        epsilon=layer.config.layer_norm_eps,
        activation=activation,
    )


def _is_plain(layer: Any) -> bool:
    parts = (layer, *layer.submodules)
    foreign = [part for part in parts if not type(part).__module__.startswith(_MODULES)]
    dtypes = {variable.dtype.name for variable in layer.variables}
    decoder = layer.config.is_decoder or layer.config.add_cross_attention
    return not foreign and not decoder and dtypes == {"float32"} and layer.compute_dtype == "float32"


def _activation(layer: Any) -> str | None:
    from transformers.activations_tf import get_tf_activation

    used = {id(item.intermediate.intermediate_act_fn) for item in layer.encoder.layer}
    known = (name for name in _ACTIVATIONS if used == {id(get_tf_activation(name))})
    return next(known, None)


def _read_layer(layer: Any) -> EncoderLayer:
    attention, output = layer.attention.self_attention, layer.attention.dense_output
    projections = (attention.query, attention.key, attention.value)
    return EncoderLayer(
        qkv=np.concatenate([dense.kernel.numpy() for dense in projections], axis=1),
        qkv_bias=np.concatenate([dense.bias.numpy() for dense in projections]),
        **_dense(output.dense, "out"),
        **_normalization(output.LayerNorm, "attention_"),
        **_dense(layer.intermediate.dense, "up"),
        **_dense(layer.bert_output.dense, "down"),
        **_normalization(layer.bert_output.LayerNorm, ""),
    )


def _dense(dense: Any, name: str) -> Mapping[str, Weight]:
    return {name: dense.kernel, f"{name}_bias": dense.bias}


def _normalization(layer: Any, prefix: str) -> Mapping[str, Weight]:
    return {f"{prefix}gamma": layer.gamma, f"{prefix}beta": layer.beta}
