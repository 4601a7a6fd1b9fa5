"""The Dense layer after BERT in a Keras file: find it, its input and its activation."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bertbundle_export.checkpoints.base import StateDict
from bertbundle_export.checkpoints.readers.keras_file import KerasLayer, Shapes
from bertbundle_export.errors import CheckpointError

__all__ = [
    "DenseHead",
    "activations_after",
    "bert_inputs_of",
    "check_head_input",
    "find_dense_head",
    "find_problem_type",
    "input_of",
    "rename_dense",
]

# transformers' name for the Dense layer, by the suffix of the class.
_HEAD_LAYERS = {
    "ForTokenClassification": "classifier",
    "ForSequenceClassification": "classifier",
    "ForQuestionAnswering": "qa_outputs",
}


@dataclass(frozen=True, slots=True)
class DenseHead:
    """A Dense layer: its name, the names of its variables (`bias` is None if it has none), its number of outputs."""

    layer: str
    kernel: str
    bias: str | None
    columns: int


def find_dense_head(path: Path, shapes: Shapes, hidden: int) -> DenseHead:
    """Return the Dense layer that consists of all variables outside BERT.

    Args:
        path: the file, for the message.
        shapes: shapes of the variables outside BERT.
        hidden: BERT's hidden size.

    Raises:
        CheckpointError: they are anything other than one Dense layer.
    """
    kernels = [name for name in shapes if name.endswith("/kernel")]
    layer = kernels[0].removesuffix("/kernel") if kernels else ""
    shape = shapes.get(f"{layer}/kernel", ())
    bias = f"{layer}/bias" if f"{layer}/bias" in shapes else None
    expected = {f"{layer}/kernel": (hidden, *shape[1:2])} | ({bias: shape[1:2]} if bias else {})
    if dict(shapes) != expected:
        found = ", ".join(f"{name} {list(size)}" for name, size in sorted(shapes.items())[:8])
        raise CheckpointError(
            f"{path} has more than BERT and one Dense layer of kernel [{hidden}, labels]: found {found}. Name "
            "each of several heads, --head NAME=TASK:LABELS (heads= in Python), or pass --model-class "
            "my_project.model:build_model, your own class or function that builds the model."
        )
    return DenseHead(layer, f"{layer}/kernel", bias, shape[1])


def rename_dense(weights: StateDict, head: DenseHead, class_suffix: str | None) -> StateDict:
    """Rename a Dense layer as transformers' class does; if it has no bias, add a bias of zeros."""
    layer = _HEAD_LAYERS[class_suffix or ""]
    bias = weights[head.bias] if head.bias else np.zeros(head.columns, np.float32)
    return {f"{layer}/kernel": weights[head.kernel], f"{layer}/bias": bias}


# ---- its activation, if the file has the whole model

# The activations that a bundle applies itself: softmax, or sigmoid for independent classes.
_ACTIVATIONS: Mapping[str, tuple[str, ...]] = {
    "text-classification": ("linear", "softmax", "sigmoid"),
    "token-classification": ("linear", "softmax"),
}


def activations_after(layers: Mapping[str, KerasLayer], name: str) -> list[str]:
    """Return the activations of a layer and of all layers that read its outputs, in order.

    Args:
        layers: the layers of a whole model by name; empty if the file has weights only.
        name: name of the layer.
    """
    if name not in layers:
        return []
    readers = [layer for layer in layers.values() if any(source == name for source, _ in layer.sources)]
    names = [str(layer.config.get("name")) for layer in readers]
    return [_activation(layers[name]), *(item for reader in names for item in activations_after(layers, reader))]


def _activation(layer: KerasLayer) -> str:
    if layer.kind == "TimeDistributed":
        return _activation_name(layer.config["layer"]["config"].get("activation"))
    if layer.kind in ("Dense", "Activation"):
        return _activation_name(layer.config.get("activation"))
    if layer.kind == "TFOpLambda":
        return str(layer.config.get("function")).rpartition(".")[2]
    return {"Dropout": "linear", "Softmax": "softmax"}.get(layer.kind, layer.kind)


def _activation_name(stored: Any) -> str:
    return str(stored.get("config") if isinstance(stored, dict) else stored or "linear")


def find_problem_type(path: Path, layer: str, activations: Sequence[Any], task: str) -> dict[str, str]:
    """Return the `problem_type` that follows from the activations after a head, for config.json; usually empty.

    Args:
        path: the file, for the message.
        layer: name of the head's layer, for the message.
        activations: as Keras stores them, in order.
        task: the task of the head; the bundle applies its softmax or sigmoid itself.

    Raises:
        CheckpointError: a bundle would not apply one of the activations.
    """
    supported = _ACTIVATIONS.get(task, ("linear",))
    applied = [name for name in map(_activation_name, activations) if name != "linear"]
    if len(applied) > 1 or not set(applied) <= set(supported):
        raise CheckpointError(
            f"{path} has the activation {', '.join(applied)} after its layer {layer}, which a bundle for {task} would "
            f"not apply: expected {' or '.join(supported)}. Export the model from Python, with its own code: "
            "export_bundle(model, ...)."
        )
    return {"problem_type": "multi_label_classification"} if applied == ["sigmoid"] else {}


# ---- its input, if the file has the whole model


def _slice_input(layer: KerasLayer) -> str | None:
    spec = layer.arguments.get("slice_spec") or [None]
    spec = spec["items"] if isinstance(spec, dict) else spec  # as a SavedModel stores a tuple
    return "cls" if spec[1:2] == [0] and all(isinstance(item, dict) for item in spec[:1] + spec[2:]) else None


def _extract_input(layer: KerasLayer) -> str | None:
    return "cls" if layer.config.get("index") == 0 else None


def _dense_input(layer: KerasLayer) -> str | None:
    return "pooler" if layer.config.get("activation") == "tanh" else None


# The pooling that a layer after BERT's tokens computes, by the layer's class: Keras' slice, and keras-bert's layers.
_POOLING_LAYERS: Mapping[str, Callable[[KerasLayer], str | None]] = {
    "SlicingOpLambda": _slice_input,
    "Extract": _extract_input,
    "MaskedGlobalMaxPool1D": lambda _: "max",
}
_BERT_LAYERS = ("TFBertMainLayer", "TFBertModel", "BertModelLayer")
_TRANSFORMERS_LAYER = re.compile(r"TF\w+(Model|MainLayer)")
# The order in which transformers' classes take inputs that are given as a list.
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def input_of(layers: Mapping[str, KerasLayer], name: str) -> str | None:
    """Return what a layer reads: "tokens", a key of `tasks.POOLINGS`, or None if that is unknown.

    Args:
        layers: the layers of a whole model by name; empty if the file has weights only.
        name: name of the layer.
    """
    source, output = _source(layers, name)
    if source is None:
        return None
    if source.kind in _BERT_LAYERS and output == 1:
        return "pooler"
    if _is_encoder(source):
        return "tokens" if output == 0 else None
    source_name = str(source.config.get("name"))
    if source_name == "Pooler-Dense":  # bert4keras': the Lambda before it takes the first token
        return _dense_input(source)
    if source.kind == "Dense":
        return _dense_input(source) if input_of(layers, source_name) == "cls" else None
    pooling = _POOLING_LAYERS.get(source.kind)
    return pooling(source) if pooling and input_of(layers, source_name) == "tokens" else None


def _is_encoder(layer: KerasLayer) -> bool:
    """Return whether a layer's output are the vectors of tokens; keras-bert's encoder ends in a normalization."""
    if layer.kind == "LayerNormalization":
        return "FeedForward" in str(layer.config.get("name"))
    return layer.kind in _BERT_LAYERS or _TRANSFORMERS_LAYER.fullmatch(layer.kind) is not None


def check_head_input(
    path: Path, layers: Mapping[str, KerasLayer], name: str, *, task: str | None, pooling: str | None
) -> None:
    """Check that a user's choices agree with the layers of a whole model.

    Args:
        path: the file, for the message.
        layers: its layers by name; empty if the file has weights only.
        name: of the head's layer.
        task: the user's; None if not given.
        pooling: the user's; None if not given.

    Raises:
        CheckpointError: the head's input is another than the user says, or none that a bundle computes.
    """
    source, _ = _source(layers, name)
    stated = input_of(layers, name)
    if source is None or (stated is None and _is_opaque(layers, source)):
        return
    if stated is None:
        raise CheckpointError(
            f"{path} has the layer {source.config.get('name')} ({source.kind}) between BERT and its layer {name}"
            f"{_REASONS.get(source.kind, '')}. A bundle's layer reads all tokens, the first token, BERT's pooler, or "
            "the mean or maximum over the text's tokens. Export the model from Python, with its own code: "
            "export_bundle(model, ...)."
        )
    reads_tokens = stated == "tokens"
    if task is not None and (task in _TOKEN_TASKS) != reads_tokens:
        raise CheckpointError(
            f"{path} calls its layer {name} on {_describe_input(stated)}, which does not fit the task {task}. State "
            f"{' or '.join(_TOKEN_TASKS if reads_tokens else _TEXT_TASKS)} for it."
        )
    if pooling is not None and not reads_tokens and pooling != stated:
        raise CheckpointError(
            f"{path} calls its layer {name} on {_describe_input(stated)}: the pooling is {stated}, not {pooling}. "
            "Leave the pooling out, to export what the file has."
        )


# Tasks of a layer that reads all tokens, and of one that reads one vector of the text.
_TOKEN_TASKS = ("token-classification", "question-answering")
_TEXT_TASKS = ("text-classification", "regression")
# Why a bundle cannot compute what a layer computes.
_REASONS = {
    "GlobalAveragePooling1D": " without a mask: it averages over padding, too",
    "GlobalMaxPooling1D": " without a mask: its maximum is over padding, too",
}


def _is_opaque(layers: Mapping[str, KerasLayer], layer: KerasLayer) -> bool:
    """Return whether the file does not say what a layer computes: then the user does.

    The code of a Lambda is not in the file. An average takes the mask of the layer before it, if that has one:
    transformers' layers have none.
    """
    if layer.kind == "GlobalAveragePooling1D":
        source, _ = _source(layers, str(layer.config.get("name")))
        return source is not None and _TRANSFORMERS_LAYER.fullmatch(source.kind) is None
    return layer.kind == "Lambda"


def _describe_input(stated: str) -> str:
    return "all tokens" if stated == "tokens" else f"one vector of the text ({stated})"


def bert_inputs_of(path: Path, layers: Mapping[str, KerasLayer]) -> tuple[str, ...]:
    """Return the inputs that a whole model calls BERT with, by their names in a bundle; all of them if unknown.

    Raises:
        CheckpointError: it calls it without a mask: tokens attend to padding, so answers depend on the padded length.
    """
    encoder = next((layer for layer in layers.values() if _TRANSFORMERS_LAYER.fullmatch(layer.kind)), None)
    if encoder is None:
        return _INPUTS
    given = {name for name in _INPUTS if encoder.arguments.get(name) is not None}
    listed = () if "input_ids" in given else _INPUTS[: len(encoder.sources)]
    if "attention_mask" not in given and "attention_mask" not in listed:
        raise CheckpointError(
            f"{path} calls {encoder.kind} without attention_mask: tokens attend to padding, so that answers depend on "
            "the padded length. Call it with input_ids and attention_mask, and save the model again."
        )
    return tuple(name for name in _INPUTS if name in given or name in listed)


def _source(layers: Mapping[str, KerasLayer], name: str) -> tuple[KerasLayer | None, int]:
    """Return the layer whose output a layer reads, skipping Dropout, and the index of that output."""
    while True:
        sources: tuple[tuple[str, int], ...] = layers[name].sources if name in layers else ()
        if len(sources) != 1 or sources[0][0] not in layers:
            return None, 0
        name, output = sources[0]
        if layers[name].kind != "Dropout":
            return layers[name], output
