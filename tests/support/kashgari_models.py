"""Write directories as Kashgari's `model.save()` does, with the layers and the weights of a head.

Source of names and settings: directories that Kashgari 2.0.2 (TensorFlow 2.3.4, bert4keras 0.11.5) and Kashgari 1.1.5
(TensorFlow 1.15.5, keras-bert 0.89.0) wrote.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_files import CONFIG, bert4keras, keras_bert, random_weights, write_h5
from tiny_checkpoints import vocabulary

LENGTH = 16
"""Number of tokens that texts were padded to in training."""
TAGS = ("[PAD]", "O", "B-PER", "I-PER")
CLASSES = ("negative", "positive", "neutral")
Layer = tuple[str, str, Mapping[str, Any]]
Arrays = Mapping[str, tuple[int, ...]]

_ENCODERS = {1: ("Encoder-{}-FeedForward-Norm", 1, keras_bert), 2: ("Transformer-{}-FeedForward-Norm", 0, bert4keras)}


def _recurrent(kind: str, name: str, *, tokens: bool, **config: Any) -> Layer:
    inner = {"name": kind.lower(), "units": 4, "return_sequences": tokens, "activation": "tanh", **config}
    return (
        "Bidirectional",
        name,
        {"layer": {"class_name": kind, "config": {"recurrent_activation": "sigmoid", **inner}}},
    )


def _dense(name: str, units: int, activation: str = "linear") -> Layer:
    return "Dense", name, {"units": units, "activation": activation}


def _distributed(units: int) -> Layer:
    name, inner = "layer_time_distributed", {"name": "dense", "units": units, "activation": "linear"}
    return "TimeDistributed", name, {"layer": {"class_name": "Dense", "config": inner}}


_SOFTMAX: Layer = ("Activation", "activation", {"activation": "softmax"})
_DROPOUT: Layer = ("Dropout", "layer_dropout", {"rate": 0.4})
_CRF: Layer = ("KConditionalRandomField", "k_conditional_random_field", {"output_dim": 4})
_CONVOLUTION: Layer = ("Conv1D", "conv1d", {"filters": 6, "kernel_size": [5], "padding": "valid", "activation": "relu"})
_WITHOUT_MASK: Layer = ("NonMaskingLayer", "non_masking_layer", {})


def _lstm(layer: str, inputs: int, *, cell: bool = True) -> Arrays:
    """Return the shapes of a bidirectional LSTM of 4 units; TensorFlow 1 names no cells."""
    return {
        f"{layer}/{side}_lstm/{f'lstm_cell_{number}/' if cell else ''}{part}": shape
        for number, side in enumerate(("forward", "backward"), 1)
        for part, shape in (("kernel", (inputs, 16)), ("recurrent_kernel", (4, 16)), ("bias", (16,)))
    }


def _gru(layer: str) -> Arrays:
    return {
        f"{layer}/{side}_gru/gru_cell_{number}/{part}": shape
        for number, side in enumerate(("forward", "backward"), 1)
        for part, shape in (("kernel", (32, 12)), ("recurrent_kernel", (4, 12)), ("bias", (2, 12)))
    }


def _matrix(layer: str, *shape: int) -> Arrays:
    return {f"{layer}/kernel": shape, f"{layer}/bias": shape[-1:]}


HEADS: Mapping[str, tuple[int, tuple[str, ...], Sequence[Layer], Arrays]] = {
    "BiLSTM": (
        2,
        TAGS,
        [_recurrent("LSTM", "layer_blstm", tokens=True), _DROPOUT, _dense("dense", 4), _SOFTMAX],
        {**_lstm("layer_blstm", 32), **_matrix("dense", 8, 4)},
    ),
    "BiGRU": (
        2,
        TAGS,
        [_recurrent("GRU", "layer_bgru", tokens=True, reset_after=True), _DROPOUT, _distributed(4), _SOFTMAX],
        {**_gru("layer_bgru"), **_matrix("layer_time_distributed", 8, 4)},
    ),
    "BiLSTM-CRF": (
        2,
        TAGS,
        [_recurrent("LSTM", "layer_blstm", tokens=True), _DROPOUT, _dense("dense", 4), _CRF],
        {
            **_lstm("layer_blstm", 32),
            **_matrix("dense", 8, 4),
            "k_conditional_random_field/transitions": (4, 4),
        },
    ),
    "BiLSTM classifier": (
        2,
        CLASSES,
        [_recurrent("LSTM", "bidirectional", tokens=False), _dense("dense", 3), _SOFTMAX],
        {**_lstm("bidirectional", 32), **_matrix("dense", 8, 3)},
    ),
    "CNN classifier": (
        2,
        CLASSES,
        [
            _CONVOLUTION,
            ("GlobalMaxPooling1D", "global_max_pooling1d", {}),
            _dense("dense", 5, "relu"),
            _dense("dense_1", 3),
            _SOFTMAX,
        ],
        {**_matrix("conv1d", 5, 32, 6), **_matrix("dense", 6, 5), **_matrix("dense_1", 5, 3)},
    ),
    "CNN-GRU classifier": (
        2,
        CLASSES,
        [
            _CONVOLUTION,
            ("MaxPooling1D", "max_pooling1d", {"pool_size": [2], "strides": [2]}),
            ("GRU", "gru", {"units": 4, "recurrent_activation": "sigmoid", "reset_after": True}),
            _dense("dense", 3),
            _SOFTMAX,
        ],
        {
            **_matrix("conv1d", 5, 32, 6),
            "gru/gru_cell/kernel": (6, 12),
            "gru/gru_cell/recurrent_kernel": (4, 12),
            "gru/gru_cell/bias": (2, 12),
            **_matrix("dense", 4, 3),
        },
    ),
    "Kashgari 1: BiLSTM": (
        1,
        TAGS,
        [
            _WITHOUT_MASK,
            _recurrent("LSTM", "layer_blstm", tokens=True, recurrent_activation="hard_sigmoid"),
            _DROPOUT,
            _distributed(4),
            _SOFTMAX,
        ],
        {**_lstm("layer_blstm", 64, cell=False), **_matrix("layer_time_distributed", 8, 4)},
    ),
    "Kashgari 1: CNN-LSTM": (
        1,
        TAGS,
        [
            _WITHOUT_MASK,
            ("Conv1D", "layer_conv", {"filters": 6, "kernel_size": [3], "padding": "same", "activation": "relu"}),
            ("LSTM", "layer_lstm", {"units": 4, "return_sequences": True, "recurrent_activation": "hard_sigmoid"}),
            _DROPOUT,
            _distributed(4),
            _SOFTMAX,
        ],
        {
            **_matrix("layer_conv", 3, 64, 6),
            "layer_lstm/kernel": (6, 16),
            "layer_lstm/recurrent_kernel": (4, 16),
            "layer_lstm/bias": (16,),
            **_matrix("layer_time_distributed", 4, 4),
        },
    ),
    "Kashgari 1: CNN classifier": (
        1,
        CLASSES,
        [
            _WITHOUT_MASK,
            _CONVOLUTION,
            ("GlobalMaxPooling1D", "global_max_pooling1d", {}),
            _dense("dense", 5, "relu"),
            _dense("dense_1", 3, "softmax"),
        ],
        {**_matrix("conv1d", 5, 64, 6), **_matrix("dense", 6, 5), **_matrix("dense_1", 5, 3)},
    ),
}
"""Heads of Kashgari's models: Kashgari's major version, labels, layers, and the shapes of their weights."""


def write_kashgari(path: Path, head: str, **changes: Any) -> Path:
    """Write a directory; return its path.

    Args:
        path: the directory, which is created.
        head: a key of `HEADS`.
        changes: `layers`, `labels` or `vocabulary` in place of the usual ones.
    """
    version, labels, layers, shapes = HEADS[head]
    generator = np.random.default_rng(3)
    arrays = {name: _random(generator, shape) for name, shape in shapes.items()}
    path.mkdir(parents=True)
    config = {**CONFIG, "max_position_embeddings": LENGTH}
    naming = _ENCODERS[version][2]
    weights = random_weights(config if version == 1 else CONFIG, pooler=False)
    weights = {name: value + 2 if name.endswith("LayerNorm.weight") else value for name, value in weights.items()}
    file = write_h5(path / "model_weights.h5", weights, naming)
    _add_arrays(file, arrays)
    model = {"class_name": "Functional", "config": {"layers": _layers(version, changes.get("layers", layers))}}
    stored = _configuration(version, model, changes.get("labels", labels), changes.get("vocabulary", vocabulary()))
    name = "model_config.json" if version == 2 else "model_info.json"
    (path / name).write_text(json.dumps(stored, ensure_ascii=False), encoding="utf-8")
    return path


def _random(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Return weights of a size with which different texts have different labels."""
    scale = {1: 0.3, 3: 0.1}.get(len(shape), 2.0 if shape[-1] == shape[0] or shape[-1] < 5 else 0.8)
    return generator.normal(scale=scale, size=shape).astype(np.float32)


def _add_arrays(file: Path, arrays: Mapping[str, Any]) -> None:
    import h5py

    with h5py.File(file, "r+") as stored:
        for name, value in arrays.items():
            stored[f"{name.partition('/')[0]}/{name}:0"] = value


def _layers(version: int, head: Sequence[Layer]) -> list[dict[str, Any]]:
    """Return the configurations of the layers that the export reads, from the inputs on."""
    end, first, _ = _ENCODERS[version]
    norms = [end.format(first + number) for number in range(2)]
    stem = norms[0].removesuffix("FeedForward-Norm")
    attention, activation = ("heads", ["gelu_erf"]) if version == 2 else ("head_num", "gelu")
    encoder: list[Layer] = [
        ("InputLayer", "Input-Token", {"batch_input_shape": [None, LENGTH if version == 1 else None]}),
        ("LayerNormalization", "Embedding-Norm", {"epsilon": 1e-12 if version == 2 else 1e-14}),
        ("MultiHeadAttention", f"{stem}MultiHeadSelfAttention", {attention: 2}),
        ("FeedForward", f"{stem}FeedForward", {"activation": activation}),
        *(("LayerNormalization", name, {}) for name in norms),
    ]
    layers: list[dict[str, Any]] = []
    for layer in encoder:
        layers.append(_layer(layer, [layers[-1]["name"]] if layers else []))
    if version == 1:
        layers.append(_layer(("Concatenate", "Encoder-Output", {"axis": -1}), norms))
    for layer in head:
        layers.append(_layer(layer, [layers[-1]["name"]]))
    return layers


def _layer(layer: Layer, sources: Sequence[str]) -> dict[str, Any]:
    kind, name, config = layer
    nodes = [[[source, 0, 0, {}] for source in sources]] if sources else []
    return {"class_name": kind, "config": {"name": name, **config}, "name": name, "inbound_nodes": nodes}


def _configuration(version: int, model: Any, labels: Sequence[str], tokens: Sequence[str]) -> dict[str, Any]:
    names = {"token_pad": "[PAD]", "token_unk": "[UNK]", "token_bos": "[CLS]", "token_eos": "[SEP]"}
    token_ids, label_ids = ({item: index for index, item in enumerate(items)} for items in (tokens, labels))
    if version == 1:
        processor = {"config": {**names, "token2idx": token_ids, "label2idx": label_ids}}
        embedding = {"class_name": "BERTEmbedding", "config": {"sequence_length": LENGTH}, "processor": processor}
        return {"kashgari_version": "1.1.5", "class_name": "Some_Model", "embedding": embedding, "tf_model": model}
    return {
        "kashgari_version": "2.0.2",
        "__class_name__": "Some_Model",
        "config": {"sequence_length": LENGTH, "multi_label": False},
        "embedding": {"__class_name__": "BertEmbedding", "config": {"model_type": "bert"}},
        "text_processor": {"config": {**names, "vocab2idx": token_ids}},
        "label_processor": {"config": {**names, "vocab2idx": label_ids}},
        "tf_model": model,
    }
