"""Layers after BERT that are stored as Keras configurations, one after another: find them and build them again.

Source of the rules about masks: Keras 2.3, whose convolutions and poolings drop the mask that BERT's layers pass on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bertbundle_export.checkpoints.base import StateDict
from bertbundle_export.checkpoints.heads.crf import transitions_layer
from bertbundle_export.checkpoints.readers.keras_file import KerasLayer
from bertbundle_export.errors import CheckpointError
from bertbundle_export.saved_model.recurrent import convertible_loops

__all__ = ["KerasStack", "convert_stack", "find_stack", "keras_stack"]

_CELL_NAMES = {"LSTM": "lstm_cell", "GRU": "gru_cell", "SimpleRNN": "simple_rnn_cell"}
_RECURRENT = ("Bidirectional", *_CELL_NAMES)
_WITH_MASK = ("Dropout", "SpatialDropout1D", "Dense", "TimeDistributed", "Activation")
_WITHOUT_MASK = ("Conv1D", "MaxPooling1D", "GlobalMaxPooling1D")
_DROP_MASK = "NonMaskingLayer"
_CRF = "KConditionalRandomField"
_SUPPORTED = (*_RECURRENT, *_WITH_MASK, *_WITHOUT_MASK, _DROP_MASK, _CRF)
_REASONS = {"CRF": ", which decodes padding, too: a bundle decodes the text's tokens only"}
# keras-bert's layers count from 1, bert4keras's from 0.
_ENCODER_LAYER = re.compile(r"(Encoder|Transformer)-(\d+)-FeedForward-Norm")
_ACTIVATIONS = {"softmax": False, "sigmoid": True}
_CELL = re.compile(r"_cell(_\d+)?$")


@dataclass(frozen=True, slots=True)
class KerasStack:
    """The layers after BERT.

    Attributes:
        layers: the layers by name, in order, without the activation that a bundle applies itself.
        outputs: numbers of BERT's layers, from 0, whose outputs are concatenated and read by the first layer.
        activation: the last activation: "softmax", "sigmoid", or "linear".
        columns: number of outputs per text or token.
        per_token: whether there are outputs for each token.
        depends_on_length: whether a layer reads padding.
        length: number of tokens that texts are padded to, if a layer reads padding; None if unknown.
    """

    layers: Mapping[str, KerasLayer]
    outputs: tuple[int, ...]
    activation: str
    columns: int
    per_token: bool
    depends_on_length: bool
    length: int | None = None


def find_stack(path: Path, layers: Mapping[str, KerasLayer]) -> KerasStack:
    """Return the layers after BERT of a whole model of keras-bert or bert4keras.

    Args:
        path: the file, for the message.
        layers: its layers by name.

    Raises:
        CheckpointError: a layer is of an unknown kind, or they do not follow one another.
    """
    chain, outputs = _chain(path, layers)
    _check_kinds(path, chain)
    chain, activation = _without_activation(path, chain)
    kinds = [layer.kind for layer in chain.values()]
    dense = [layer for layer in chain.values() if layer.kind in ("Dense", "TimeDistributed")]
    if not dense or kinds[-1] not in ("Dense", "TimeDistributed", _CRF) or kinds.count(_CRF) > 1:
        raise CheckpointError(
            f"{path} ends in {', '.join(kinds) or 'BERT'}, expected a Dense layer, then a CRF or none."
        )
    return KerasStack(
        layers=chain,
        outputs=outputs,
        activation=activation,
        columns=_settings(dense[-1])["units"],
        per_token=all(_keeps_tokens(layer) for layer in chain.values()),
        depends_on_length=_reads_padding(kinds),
    )


def _chain(path: Path, layers: Mapping[str, KerasLayer]) -> tuple[dict[str, KerasLayer], tuple[int, ...]]:
    """Return the layers from BERT to the output, and the numbers of BERT's layers that the first one reads."""
    read = {source for layer in layers.values() for source, _ in layer.sources}
    ends = {name for name in layers if name not in read}
    if len(ends) != 1:
        raise CheckpointError(f"{path} has the outputs {', '.join(sorted(ends)) or 'none'}, expected one.")
    chain: dict[str, KerasLayer] = {}
    name = ends.pop()
    while (outputs := _encoder_outputs(layers, name)) is None:
        chain[name] = layers[name]
        sources = {source for source, _ in layers[name].sources}
        if len(sources) != 1:
            raise CheckpointError(
                f"{path} has layers after BERT that do not follow one another: {name} ({layers[name].kind}) reads "
                f"{', '.join(sorted(sources)) or 'none'}."
            )
        name = sources.pop()
    return dict(reversed(chain.items())), outputs


def _encoder_outputs(layers: Mapping[str, KerasLayer], name: str) -> tuple[int, ...] | None:
    """Return the numbers of BERT's layers whose outputs a layer returns; None if it is no layer of BERT."""
    sources = [source for source, _ in layers[name].sources] if layers[name].kind == "Concatenate" else [name]
    matches = [_ENCODER_LAYER.fullmatch(source) for source in sources]
    found = [match for match in matches if match]
    if len(found) != len(matches) or not found:
        return None
    return tuple(int(match[2]) - (match[1] == "Encoder") for match in found)


def _check_kinds(path: Path, chain: Mapping[str, KerasLayer]) -> None:
    wrong = {
        f"{name} ({layer.kind})": _REASONS.get(layer.kind, "")
        for name, layer in chain.items()
        if not _is_supported(layer)
    }
    if wrong:
        raise CheckpointError(
            f"{path} has layers after BERT that are not supported: {', '.join(wrong)}{''.join(wrong.values())}. "
            f"Supported are {', '.join(_SUPPORTED)}."
        )


def _is_supported(layer: KerasLayer) -> bool:
    expected = {"Bidirectional": _CELL_NAMES, "TimeDistributed": ("Dense",)}.get(layer.kind, (layer.kind,))
    return layer.kind in _SUPPORTED and _inner_kind(layer) in expected and not _settings(layer).get("stateful")


def _inner_kind(layer: KerasLayer) -> str:
    """Return the kind of a layer, or of the layer that it wraps."""
    return str(layer.config["layer"]["class_name"] if "layer" in layer.config else layer.kind)


def _settings(layer: KerasLayer) -> Mapping[str, Any]:
    """Return the settings of a layer, or of the layer that it wraps."""
    inner: Mapping[str, Any] = layer.config["layer"]["config"] if "layer" in layer.config else layer.config
    return inner


def _without_activation(path: Path, chain: dict[str, KerasLayer]) -> tuple[dict[str, KerasLayer], str]:
    """Return the layers without the last softmax or sigmoid, and its name."""
    name, last = next(reversed(chain.items()), ("", _NO_LAYER))
    activation = _settings(last).get("activation") if last.kind in ("Activation", "Dense", "TimeDistributed") else None
    if activation in (None, "linear"):
        return chain, "linear"
    if activation not in _ACTIVATIONS:
        raise CheckpointError(f"{path} ends in the activation {activation}, expected softmax or sigmoid.")
    kept = {key: layer for key, layer in chain.items() if key != name}
    return (kept if last.kind == "Activation" else {**kept, name: _linear(last)}), str(activation)


def _linear(layer: KerasLayer) -> KerasLayer:
    if layer.kind == "Dense":
        return replace(layer, config={**layer.config, "activation": "linear"})
    inner = {**layer.config["layer"], "config": {**_settings(layer), "activation": "linear"}}
    return replace(layer, config={**layer.config, "layer": inner})


def _keeps_tokens(layer: KerasLayer) -> bool:
    """Return whether a layer has an output for each of its inputs along the text."""
    if layer.kind in _RECURRENT:
        return bool(_settings(layer).get("return_sequences"))
    if layer.kind == "Conv1D":
        return layer.config.get("padding") != "valid" and set(layer.config.get("strides", (1,))) == {1}
    return layer.kind not in ("MaxPooling1D", "GlobalMaxPooling1D")


def _reads_padding(kinds: Sequence[str]) -> bool:
    """Return whether a layer mixes tokens without a mask."""
    is_masked = True
    for kind in kinds:
        is_masked = is_masked and kind not in (*_WITHOUT_MASK, _DROP_MASK)
        if kind in _WITHOUT_MASK or (not is_masked and kind in (*_RECURRENT, _CRF)):
            return True
    return False


def convert_stack(weights: StateDict, stack: KerasStack) -> StateDict:
    """Return the weights of a stack's layers by the names of `keras_stack`'s variables."""
    return {_model_name(name, stack.layers): value for name, value in weights.items()}


def _model_name(name: str, layers: Mapping[str, KerasLayer]) -> str:
    scope, _, variable = name.rpartition("/")
    layer = layers.get(name.partition("/")[0], _NO_LAYER)
    if layer.kind == _CRF:
        return f"crf/{variable}"
    if layer.kind in _RECURRENT and not _CELL.search(scope):  # before Keras 2.2
        return f"{scope}/{_CELL_NAMES[_inner_kind(layer)]}/{variable}"
    return name


_NO_LAYER = KerasLayer("", {}, (), {})


def keras_stack(config: Any, *, stack: KerasStack) -> Any:
    """Build a functional model: BERT as the layer ``bert``, and the layers of a stack by their own names.

    Args:
        config: a BertConfig.
        stack: the layers.
    """
    import tf_keras
    from transformers.models.bert.modeling_tf_bert import TFBertMainLayer

    from bertbundle_export.tensorflow_import import tf

    names = ("input_ids", "attention_mask", "token_type_ids")
    inputs = {name: tf_keras.Input((stack.length,), dtype="int32", name=name) for name in names}
    bert = TFBertMainLayer(config, add_pooling_layer=False, name="bert")
    if stack.outputs == (config.num_hidden_layers - 1,):
        features = bert(inputs)["last_hidden_state"]
    else:
        states = bert(inputs, output_hidden_states=True)["hidden_states"]  # the first are the embeddings
        features = tf.concat([states[1 + number] for number in stack.outputs], axis=-1)
    mask = tf.cast(inputs["attention_mask"], tf.bool)
    outputs = {}
    for layer in stack.layers.values():
        if layer.kind in (*_WITHOUT_MASK, _DROP_MASK):
            mask = None
        if layer.kind == _CRF:
            outputs["transitions"] = transitions_layer(stack.columns)(features)
        elif layer.kind != _DROP_MASK:
            with convertible_loops():  # Keras' own loops trace gradients, too
                features = _build(layer)(features, **({"mask": mask} if layer.kind in _RECURRENT else {}))
    return tf_keras.Model(inputs, {"logits": features, **outputs})


def _build(layer: KerasLayer) -> Any:
    import tf_keras

    return tf_keras.layers.deserialize({"class_name": layer.kind, "config": dict(layer.config)})
