"""Taggers of TensorFlow 1 after Google's BERT: a projection, with or without a BiLSTM before it and a CRF after it.

Source of names and computation: macanv/BERT-BiLSTM-CRF-NER, bert_base/train/lstm_crf_layer.py, whose head many Chinese
taggers copied; and TensorFlow 1's rnn_cell_impl.py, for the layout of the cells.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bertbundle_export.checkpoints.base import StateDict
from bertbundle_export.checkpoints.heads.crf import transitions_layer
from bertbundle_export.saved_model.recurrent import convertible_loops

__all__ = ["TaggerHead", "convert_head", "find_tagger", "tagger"]

_PROJECTION = ("project/logits/W", "output_weights", "loss/output_weights")
_BIAS = ("project/logits/b", "output_bias", "loss/output_bias")
_HIDDEN, _HIDDEN_BIAS = "project/hidden/W", "project/hidden/b"
_TRANSITIONS = "crf_loss/transitions"
_CELL = re.compile(r"(?:.+/)?bidirectional_rnn/(fw|bw)/(?:basic_)?(lstm|gru)_cell/(?:(gates|candidate)/)?(kernel|bias)")
_DIRECTIONS = {"fw": "rnn_forward", "bw": "rnn_backward"}
# LSTMCell adds it to the forget gate when it computes; Keras' LSTM has it in the bias.
_FORGET_BIAS = 1.0


@dataclass(frozen=True, slots=True)
class TaggerHead:
    """The layers after BERT.

    Attributes:
        cell: "lstm" or "gru"; None without a recurrent layer.
        units: number of units of each direction.
        is_masked: whether the recurrent layer stops at the end of the text, instead of reading padding, too.
        hidden: size of the layer before the projection; None if there is none.
        has_tanh: whether the logits are the hyperbolic tangent of the projection.
        has_crf: whether there is a CRF.
        labels: number of labels.
        is_assumed: whether neither names nor a graph say `is_masked` and `has_tanh`.
    """

    cell: str | None
    units: int
    is_masked: bool
    hidden: int | None
    has_tanh: bool
    has_crf: bool
    labels: int
    is_assumed: bool


def find_tagger(shapes: Mapping[str, tuple[int, ...]], graph: bytes) -> TaggerHead | None:
    """Return the head of a tagger by the names of its weights; None for a head of Google's own.

    The graph says what names do not: whether a tanh follows the projection, and whether the recurrent layer is masked.
    Without a graph, both are as in BERT-BiLSTM-CRF-NER.

    Args:
        shapes: shape of each weight.
        graph: content of the checkpoint's .meta file, or of a frozen graph; empty if there is none.
    """
    if "project/logits/W" not in shapes and _TRANSITIONS not in shapes:
        return None
    bias = next((name for name in _BIAS if name in shapes), None)
    if bias is None:
        return None
    cells = [match for match in map(_CELL.fullmatch, shapes) if match]
    cell = cells[0][2] if cells else None
    units = next((size // _gates(cell) for name, (size, *_) in _biases(shapes).items()), 0)
    has_graph = b"project/logits/xw_plus_b" in graph or b"project/logits/MatMul" in graph
    has_lengths = any(name in graph for name in (b"bidirectional_rnn/bw/ReverseSequence", b"bw/bw/sequence_length"))
    return TaggerHead(
        cell=cell,
        units=units,
        is_masked=has_lengths,
        hidden=shapes[_HIDDEN][1] if _HIDDEN in shapes else None,
        has_tanh=b"project/logits/Tanh" in graph if has_graph else bias == "project/logits/b" and cell is None,
        has_crf=_TRANSITIONS in shapes,
        labels=shapes[bias][0],
        is_assumed=not has_graph and bias == "project/logits/b",
    )


def _gates(cell: str | None) -> int:
    return 4 if cell == "lstm" else 2


def _biases(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the biases of an LSTM's gates, or of a GRU's two gates."""
    matches = {name: match for name in shapes if (match := _CELL.fullmatch(name))}
    return {name: shapes[name] for name, match in matches.items() if match[4] == "bias" and match[3] != "candidate"}


def convert_head(weights: StateDict, head: TaggerHead) -> StateDict:
    """Return the weights of a head by the names of `tagger`'s variables, and all other weights unchanged."""
    converted = {}
    cells: dict[str, StateDict] = {"fw": {}, "bw": {}}
    for name, value in weights.items():
        if match := _CELL.fullmatch(name):
            cells[match[1]]["/".join(filter(None, (match[3], match[4])))] = value
        else:
            converted[_NAMES.get(name, name)] = value.T if name.endswith("output_weights") else value
    for direction, values in cells.items():
        convert = _lstm if head.cell == "lstm" else _gru
        converted |= {f"{_DIRECTIONS[direction]}/{name}": value for name, value in convert(values, head.units).items()}
    return converted


_NAMES = {
    **dict.fromkeys(_PROJECTION, "classifier/kernel"),
    **dict.fromkeys(_BIAS, "classifier/bias"),
    _HIDDEN: "hidden/kernel",
    _HIDDEN_BIAS: "hidden/bias",
    _TRANSITIONS: "crf/transitions",
}


def _lstm(values: StateDict, units: int) -> StateDict:
    """Convert a cell with the gates input, new, forget, output; Keras' are input, forget, new, output."""
    if not values:
        return {}
    kernel, bias = (_reorder(values[name], (0, 2, 1, 3)) for name in ("kernel", "bias"))
    bias[units : 2 * units] += _FORGET_BIAS
    return {
        "lstm_cell/kernel": kernel[:-units],
        "lstm_cell/recurrent_kernel": kernel[-units:],
        "lstm_cell/bias": bias,
    }


def _gru(values: StateDict, units: int) -> StateDict:
    """Convert a cell with the gates reset, update; Keras' are update, reset, new."""
    if not values:
        return {}
    kernel, bias = (
        np.concatenate([_reorder(values[f"gates/{name}"], (1, 0)), values[f"candidate/{name}"]], axis=-1)
        for name in ("kernel", "bias")
    )
    return {"gru_cell/kernel": kernel[:-units], "gru_cell/recurrent_kernel": kernel[-units:], "gru_cell/bias": bias}


def _reorder(value: Any, order: tuple[int, ...]) -> Any:
    parts = np.split(value, len(order), axis=-1)
    return np.concatenate([parts[index] for index in order], axis=-1)


def tagger(config: Any, *, head: TaggerHead) -> Any:
    """Build a functional model: BERT as the layer ``bert``, and the layers of a head.

    Args:
        config: a BertConfig.
        head: the layers.
    """
    import tf_keras
    from transformers.models.bert.modeling_tf_bert import TFBertMainLayer

    names = ("input_ids", "attention_mask", "token_type_ids")
    inputs = {name: tf_keras.Input((None,), dtype="int32", name=name) for name in names}
    features = TFBertMainLayer(config, add_pooling_layer=False, name="bert")(inputs)["last_hidden_state"]
    if head.cell is not None:
        features = _bidirectional(features, inputs["attention_mask"], head)
    if head.hidden is not None:
        features = tf_keras.layers.Dense(head.hidden, name="hidden")(features)
    activation = "tanh" if head.has_tanh else None
    outputs = {"logits": tf_keras.layers.Dense(head.labels, activation=activation, name="classifier")(features)}
    if head.has_crf:
        outputs["transitions"] = transitions_layer(head.labels)(outputs["logits"])
    return tf_keras.Model(inputs, outputs)


def _bidirectional(features: Any, attention_mask: Any, head: TaggerHead) -> Any:
    import tf_keras

    from bertbundle_export.tensorflow_import import tf

    layer, options = {
        "lstm": (tf_keras.layers.LSTM, {}),
        "gru": (tf_keras.layers.GRU, {"reset_after": False}),
    }[str(head.cell)]
    mask = tf.cast(attention_mask, tf.bool) if head.is_masked else None
    forward = layer(head.units, return_sequences=True, name="rnn_forward", **options)
    backward = layer(head.units, return_sequences=True, go_backwards=True, name="rnn_backward", **options)
    with convertible_loops():  # Keras' own loops trace gradients, too
        outputs, reversed_outputs = forward(features, mask=mask), backward(features, mask=mask)
    return tf.concat([outputs, tf.reverse(reversed_outputs, axis=[1])], axis=2)
