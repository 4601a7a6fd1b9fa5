"""The weights of a BERT-like encoder, from which the inference graphs are built."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["MASKED_SCORE", "EncoderLayer", "EncoderWeights", "Weight", "as_array", "read_encoder"]

Weight: TypeAlias = Any
"""A float32 array, or a Keras variable, which is not copied: the weights of a BERT-large are 1.3 GB."""

MASKED_SCORE = -10000.0
"""Added to the score of a padded position before the softmax, as transformers' TFBertMainLayer does."""


@dataclass(frozen=True, slots=True)
class EncoderLayer:
    """The weights of one layer, float32. H is the hidden size, I the intermediate size; kernels are ``[in, out]``.

    Attributes:
        qkv, qkv_bias: query, key and value, concatenated, ``[H, 3 H]`` and ``[3 H]``.
        out, out_bias: the dense layer after the attention, ``[H, H]`` and ``[H]``.
        attention_gamma, attention_beta: the layer normalization after it, ``[H]``.
        up, up_bias: the dense layer before the activation, ``[H, I]`` and ``[I]``.
        down, down_bias: the dense layer after it, ``[I, H]`` and ``[H]``.
        gamma, beta: the last layer normalization, ``[H]``.
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
class EncoderWeights:
    """Embeddings and layers.

    Attributes:
        words, positions, types: embedding tables, ``[size, E]``; without a projection, E equals H.
        gamma, beta: layer normalization of their sum, ``[E]``.
        layers: the layers.
        heads: number of attention heads.
        epsilon: epsilon of every layer normalization.
        activation: "gelu", "gelu_new" or "relu".
        project, project_bias: projection of the embeddings, ``[E, H]`` and ``[H]``; None if there is none.
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
    project: Weight | None = None
    project_bias: Weight | None = None

    @property
    def hidden_size(self) -> int:
        """Size of a token's vector."""
        return int(self.layers[0].gamma.shape[0])

    @property
    def tables(self) -> Mapping[str, Weight]:
        """The weights of the embeddings by name."""
        tables = {name: getattr(self, name) for name in _TABLES}
        return {name: weight for name, weight in tables.items() if weight is not None}

    @property
    def named(self) -> dict[str, Weight]:
        """All weights by name; those of a layer have the prefix ``layer_INDEX/``."""
        weights = dict(self.tables)
        for index, layer in enumerate(self.layers):
            weights |= {f"layer_{index}/{field.name}": getattr(layer, field.name) for field in fields(layer)}
        return weights

    @property
    def scale(self) -> float:
        """Factor of the attention scores."""
        return 1 / math.sqrt(self.hidden_size // self.heads)


_TABLES = ("words", "positions", "types", "gamma", "beta", "project", "project_bias")


def as_array(weight: Weight) -> npt.NDArray[np.float32]:
    """Return a weight's values."""
    array: npt.NDArray[np.float32] = weight if isinstance(weight, np.ndarray) else weight.numpy()
    return array


# transformers' names of the activations that every graph supports.
_ACTIVATIONS = ("gelu", "gelu_new", "relu")


def read_encoder(layer: Any) -> EncoderWeights | None:
    """Read a built main layer of transformers' BERT, RoBERTa, ELECTRA or DistilBERT.

    Returns:
        Its weights; None for any other layer, and for a decoder or a layer with an unsupported activation, custom parts
        or another precision.
    """
    module, _, family = type(layer).__module__.rpartition(".")
    read = _READERS.get(f"{family}.{type(layer).__qualname__}") if module.startswith("transformers.models.") else None
    if read is None or not layer.built or not _is_plain(layer):
        return None
    return read(layer)


def _is_plain(layer: Any) -> bool:
    modules = (type(layer).__module__, "tf_keras")
    custom = [part for part in layer.submodules if not type(part).__module__.startswith(modules)]
    dtypes = {variable.dtype.name for variable in layer.variables}
    decoder = layer.config.is_decoder or layer.config.add_cross_attention
    return not custom and not decoder and dtypes == {"float32"} and layer.compute_dtype == "float32"


def _read_bert(layer: Any) -> EncoderWeights | None:
    items = [(item, item.intermediate.intermediate_act_fn) for item in layer.encoder.layer]
    return _read(layer, items, _bert_layer, layer.embeddings.token_type_embeddings)


def _read_distilbert(layer: Any) -> EncoderWeights | None:
    items = [(item, item.ffn.activation) for item in layer.transformer.layer]
    return _read(layer, items, _distilbert_layer, np.zeros([1, layer.config.dim], np.float32))


def _read(
    layer: Any, items: Sequence[tuple[Any, Any]], read_layer: Callable[[Any], EncoderLayer], types: Weight
) -> EncoderWeights | None:
    """Read a main layer; `items` are its layers with their activations."""
    activation, embeddings = _activation(function for _, function in items), layer.embeddings
    if activation is None:
        return None
    return EncoderWeights(
        words=embeddings.weight,
        positions=embeddings.position_embeddings,
        types=types,
        **_normalization(embeddings.LayerNorm, ""),
        layers=tuple(read_layer(item) for item, _ in items),
        heads=layer.config.num_attention_heads,
        epsilon=embeddings.LayerNorm.epsilon,
        activation=activation,
    )


def _read_electra(layer: Any) -> EncoderWeights | None:
    encoder = _read_bert(layer)
    if encoder is None or not hasattr(layer, "embeddings_project"):
        return encoder
    return replace(encoder, **_dense(layer.embeddings_project, "project"))


def _read_roberta(layer: Any) -> EncoderWeights | None:
    """Read a RoBERTa: a BERT whose first token has the position after the padding's.

    transformers' class counts only the tokens whose id is not the padding's. Since padding comes last, this is the same
    as a BERT with the rest of the position table, except at the padding itself.
    """
    padding = layer.embeddings.padding_idx
    encoder = _read_bert(layer) if layer.config.pad_token_id == padding else None
    return encoder and replace(encoder, positions=encoder.positions.numpy()[padding + 1 :])


_READERS: Mapping[str, Callable[[Any], EncoderWeights | None]] = {
    "modeling_tf_bert.TFBertMainLayer": _read_bert,
    "modeling_tf_roberta.TFRobertaMainLayer": _read_roberta,
    "modeling_tf_electra.TFElectraMainLayer": _read_electra,
    "modeling_tf_distilbert.TFDistilBertMainLayer": _read_distilbert,
}


def _activation(functions: Iterable[Any]) -> str | None:
    from transformers.activations_tf import get_tf_activation

    used = {id(function) for function in functions}
    names = (name for name in _ACTIVATIONS if used == {id(get_tf_activation(name))})
    return next(names, None)


def _bert_layer(layer: Any) -> EncoderLayer:
    attention, output = layer.attention.self_attention, layer.attention.dense_output
    return EncoderLayer(
        **_concatenate(attention.query, attention.key, attention.value),
        **_dense(output.dense, "out"),
        **_normalization(output.LayerNorm, "attention_"),
        **_dense(layer.intermediate.dense, "up"),
        **_dense(layer.bert_output.dense, "down"),
        **_normalization(layer.bert_output.LayerNorm, ""),
    )


def _distilbert_layer(layer: Any) -> EncoderLayer:
    attention = layer.attention
    return EncoderLayer(
        **_concatenate(attention.q_lin, attention.k_lin, attention.v_lin),
        **_dense(attention.out_lin, "out"),
        **_normalization(layer.sa_layer_norm, "attention_"),
        **_dense(layer.ffn.lin1, "up"),
        **_dense(layer.ffn.lin2, "down"),
        **_normalization(layer.output_layer_norm, ""),
    )


def _concatenate(*projections: Any) -> Mapping[str, Weight]:
    return {
        "qkv": np.concatenate([dense.kernel.numpy() for dense in projections], axis=1),
        "qkv_bias": np.concatenate([dense.bias.numpy() for dense in projections]),
    }


def _dense(dense: Any, name: str) -> Mapping[str, Weight]:
    return {name: dense.kernel, f"{name}_bias": dense.bias}


def _normalization(layer: Any, prefix: str) -> Mapping[str, Weight]:
    return {f"{prefix}gamma": layer.gamma, f"{prefix}beta": layer.beta}
