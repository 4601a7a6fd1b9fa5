"""Find the one Dense layer that a model has after BERT, and what of BERT's it reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertbundle_export.checkpoints.readers.keras_file import Layer, Shapes
from bertbundle_export.errors import CheckpointError

__all__ = ["DenseHead", "activations_of", "find_dense", "problem_of", "reads_of"]


@dataclass(frozen=True, slots=True)
class DenseHead:
    """A Dense layer: its name, the names of its variables (`bias` None if it has none), and its number of outputs."""

    layer: str
    kernel: str
    bias: str | None
    columns: int


def find_dense(path: Path, rest: Shapes, hidden: int) -> DenseHead:
    """Return the one Dense layer that the variables after BERT are.

    Args:
        path: the file, for the message.
        rest: shapes of what is not BERT's.
        hidden: BERT's hidden size.

    Raises:
        CheckpointError: they are something else; says what there is.
    """
    kernels = [name for name in rest if name.endswith("/kernel")]
    layer = kernels[0].removesuffix("/kernel") if kernels else ""
    shape = rest.get(f"{layer}/kernel", ())
    bias = f"{layer}/bias" if f"{layer}/bias" in rest else None
    expected = {f"{layer}/kernel": (hidden, *shape[1:2])} | ({bias: shape[1:2]} if bias else {})
    if dict(rest) != expected:
        found = ", ".join(f"{name} {list(size)}" for name, size in sorted(rest.items())[:8])
        raise CheckpointError(
            f"{path} has more than BERT and one Dense layer of kernel [{hidden}, labels]: found {found}. Pass "
            "--model-class my_project.model:build_model, a class or function of yours that makes the model."
        )
    return DenseHead(layer, f"{layer}/kernel", bias, shape[1])


# ---- its activation, where a whole model says so

# What a bundle applies itself: to a classifier's logits softmax, or sigmoid if its classes are independent.
_ACTIVATIONS: Mapping[str, tuple[str, ...]] = {
    "text-classification": ("linear", "softmax", "sigmoid"),
    "token-classification": ("linear", "softmax"),
}


def activations_of(layers: Mapping[str, Layer], name: str) -> list[str]:
    """Return what is applied to the outputs of a layer: by itself, and by the layers that it goes through after.

    Args:
        layers: of a whole model, by name; none of weights alone.
        name: of the layer.
    """
    if name not in layers:
        return []
    after = [layer for layer in layers.values() if any(read == name for read, _ in layer.reads)]
    following = [activation for layer in after for activation in activations_of(layers, str(layer.config.get("name")))]
    return [_activation(layers[name]), *following]


def _activation(layer: Layer) -> str:
    if layer.kind in ("Dense", "Activation"):
        return _activation_name(layer.config.get("activation"))
    if layer.kind == "TFOpLambda":
        return str(layer.config.get("function")).rpartition(".")[2]
    return {"Dropout": "linear", "Softmax": "softmax"}.get(layer.kind, layer.kind)


def _activation_name(stored: Any) -> str:
    return str(stored.get("config") if isinstance(stored, dict) else stored or "linear")


def problem_of(where: object, layer: str, activations: Sequence[Any], task: str) -> dict[str, str]:
    """Return the `problem_type` that the activations over a head mean, as a setting of config.json; none for most.

    Args:
        where: the file, for the message.
        layer: name of the head's layer, for the message.
        activations: as Keras stores them, in the order that they are applied.
        task: what the head is for; a bundle applies softmax or sigmoid itself, where the task has one.

    Raises:
        CheckpointError: one that a bundle would leave out.
    """
    known = _ACTIVATIONS.get(task, ("linear",))
    applied = [name for name in map(_activation_name, activations) if name != "linear"]
    if len(applied) > 1 or not set(applied) <= set(known):
        raise CheckpointError(
            f"{where} has the activation {', '.join(applied)} over its layer {layer}, which a bundle for {task} would "
            f"leave out: expected {' or '.join(known)}. Export the model from Python, where it runs as it is: "
            "export_bundle(model, ...)."
        )
    return {"problem_type": "multi_label_classification"} if applied == ["sigmoid"] else {}


# ---- what it reads, where a whole model says so


def _first_token(layer: Layer) -> str | None:
    spec = layer.arguments.get("slice_spec") or [None]
    return "cls" if spec[1:2] == [0] and all(isinstance(item, dict) for item in spec[:1] + spec[2:]) else None


def _extract(layer: Layer) -> str | None:
    return "cls" if layer.config.get("index") == 0 else None


def _pooler(layer: Layer) -> str | None:
    return "pooler" if layer.config.get("activation") == "tanh" else None


# What a layer over BERT's tokens makes of them, by its class: Keras' own slice, and keras-bert's layers.
_OVER_TOKENS: Mapping[str, Callable[[Layer], str | None]] = {
    "SlicingOpLambda": _first_token,
    "Extract": _extract,
    "MaskedGlobalMaxPool1D": lambda _: "max",
}
_ENCODERS = ("TFBertMainLayer", "TFBertModel", "BertModelLayer")


def reads_of(layers: Mapping[str, Layer], name: str) -> str | None:
    """Return "tokens", a key of `tasks.POOLINGS`, or None if it cannot be told what a layer is called on.

    Args:
        layers: of a whole model, by name; none of weights alone.
        name: of the layer.
    """
    layer, output = _source(layers, name)
    if layer is None:
        return None
    if layer.kind in _ENCODERS:
        return "pooler" if output == 1 else "tokens"
    if layer.kind == "LayerNormalization" and "FeedForward" in str(layer.config.get("name")):
        return "tokens"
    own = str(layer.config.get("name"))
    if layer.kind == "Dense":
        return _pooler(layer) if reads_of(layers, own) == "cls" else None
    over = _OVER_TOKENS.get(layer.kind)
    return over(layer) if over and reads_of(layers, own) == "tokens" else None


def _source(layers: Mapping[str, Layer], name: str) -> tuple[Layer | None, int]:
    """Return the layer that one reads, through Dropout, and which of its outputs."""
    while True:
        reads: tuple[tuple[str, int], ...] = layers[name].reads if name in layers else ()
        if len(reads) != 1 or reads[0][0] not in layers:
            return None, 0
        name, output = reads[0]
        if layers[name].kind != "Dropout":
            return layers[name], output
