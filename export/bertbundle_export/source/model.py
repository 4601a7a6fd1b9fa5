"""The source model: a Keras BERT with the facts that a bundle needs, and how it is run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import tokenizers

from bertbundle.contract.manifest import InputSpec, Source
from bertbundle.contract.word_segmenter import WordSegmenter
from bertbundle_export.errors import CheckpointError, ExportError
from bertbundle_export.source.architectures import is_placeholder

if TYPE_CHECKING:
    from bertbundle_export.tasks import HeadSpec, Task

__all__ = [
    "SourceModel",
    "accepted_inputs",
    "call_keras",
    "check_compute_dtype",
    "check_labels",
    "count_parameters",
    "fixed_length",
    "is_functional",
    "is_multi_label",
    "raw_outputs",
    "run_source",
]


@dataclass(frozen=True, slots=True)
class SourceModel:
    """A loaded model, the same for every checkpoint format.

    Attributes:
        keras: the model; called with the inputs by name and ``training=False``.
        task: a key of `tasks.TASKS`, or "multi-task" if there are several heads.
        tokenizer: without truncation or padding.
        source: its origin, for the manifest.
        inputs: the inputs of every signature.
        max_positions: length of the longest sequence that the model accepts; None if unknown.
        stated_length: length of the longest text that the tokenizer's files state, in tokens; None if they state none.
        prompt: text in front of every text, as sentence-transformers puts it there; "" for none.
        added_tokens: tokens that the tokenizer recognizes in a text, beside the model's own; set by the export.
        word_segmenter: how texts are split into words in front of the tokenizer; None if the tokenizer says so.
        labels: label of each class index.
        multi_label: whether classes are independent.
        pooling, dense, normalized: how the sentence embedding is computed; `dense` are the activations of the Dense
            layers, whose weights are `extra_outputs`.
        last_layers: number of last layers that are concatenated into the features.
        heads: the user's description of each of several heads by name; empty if there is one.
        head_outputs: where each output of the heads is in what the model returns: its key or its index, by names like
            ``slots.logits``.
        extra_outputs: variables, tensors or arrays that are added to the model's outputs, such as a CRF's transitions.
        dropped_outputs: outputs that are removed: they depend on weights that the checkpoint does not have.
        notes: assumptions that the user should know; they go to the manifest.
    """

    keras: Any
    task: str
    tokenizer: tokenizers.Tokenizer
    source: Source
    inputs: tuple[InputSpec, ...]
    max_positions: int | None
    stated_length: int | None = None
    prompt: str = ""
    added_tokens: tuple[str, ...] = ()
    word_segmenter: WordSegmenter | None = None
    labels: tuple[str, ...] = ()
    multi_label: bool = False
    pooling: str = "none"
    dense: tuple[str, ...] = ()
    normalized: bool = False
    last_layers: int = 1
    heads: Mapping[str, HeadSpec] = field(default_factory=dict)
    head_outputs: Mapping[str, str | int] = field(default_factory=dict)
    extra_outputs: Mapping[str, Any] = field(default_factory=dict)
    dropped_outputs: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()

    @property
    def variables(self) -> list[Any]:
        """Every variable that the outputs may depend on."""
        own = {id(variable) for variable in self.keras.variables}
        extra = [value for value in self.extra_outputs.values() if hasattr(value, "assign") and id(value) not in own]
        return [*self.keras.variables, *extra]


def check_labels(labels: Sequence[str], task: Task, *, multi_label: bool | None = None) -> tuple[str, ...]:
    """Check a head's labels and return them as a tuple; a single label is valid only if classes are independent.

    Raises:
        CheckpointError: there are no labels, a tagger has only placeholders (LABEL_0), a label appears twice, or spans
            have the label O.
    """
    placeholders = all(map(is_placeholder, labels))
    if not labels or (placeholders and task.name in ("token-classification", "span-classification")):
        raise CheckpointError(
            f"the model has no labels for {task.name} ({', '.join(labels) or 'none'}). Pass --labels (labels= in "
            "Python), in the order of the class indices."
        )
    if task.name == "span-classification":
        _check_types(labels)
    elif len(labels) == 1 and not multi_label:
        raise CheckpointError(
            f"the model has a single class, {labels[0]}, whose softmax is always 1. Pass --task regression if its "
            "output is a value, or --multi-label if it is the logit of a probability."
        )
    duplicates = sorted({label for label in labels if labels.count(label) > 1})
    if duplicates:
        raise CheckpointError(
            f"labels must differ, {', '.join(duplicates)} appears more than once. Pass other --labels."
        )
    return tuple(labels)


def _check_types(labels: Sequence[str]) -> None:
    if "O" in labels:
        raise CheckpointError(
            f"the labels of span-classification are entity types, got {', '.join(labels)}. Leave out O, and the "
            "prefixes B- and I-."
        )


def is_multi_label(problem_type: str | None, given: bool | None) -> bool:
    """Return whether classes are independent: the user's setting if given, else that of the model's `problem_type`."""
    return problem_type == "multi_label_classification" if given is None else given


def is_functional(model: Any) -> bool:
    """Return whether a Keras model is made of Inputs, which say what it takes."""
    return bool(getattr(model, "_is_graph_network", type(model).__name__ == "Functional"))


def fixed_length(model: Any) -> int | None:
    """Return the fixed number of tokens of a functional model's Inputs; None if the model accepts any."""
    shapes = [tuple(tensor.shape) for tensor in model.inputs] if is_functional(model) else []
    return next((shape[1] for shape in shapes if len(shape) == 2 and shape[1] is not None), None)


def accepted_inputs(model: Any, inputs: tuple[InputSpec, ...]) -> tuple[InputSpec, ...]:
    """Return the BERT inputs that a Keras model accepts: a functional one may have no token_type_ids.

    Raises:
        CheckpointError: a functional model has other inputs, or no mask.
    """
    if not is_functional(model):
        return inputs
    names = [str(tensor.name).partition(":")[0] for tensor in model.inputs]
    expected = [spec.name for spec in inputs]
    if not set(names) <= set(expected) or not {"input_ids", "attention_mask"} <= set(names):
        raise CheckpointError(
            f"the functional model has Inputs named {', '.join(names)}; it must have input_ids and attention_mask, and "
            f"may have {', '.join(expected[2:]) or 'no others'}. Rename its Inputs."
        )
    return tuple(spec for spec in inputs if spec.name in names)


def check_compute_dtype(model: Any) -> None:
    """Refuse a Keras model with layers that compute in half precision: a bundle computes in float32, or in its own.

    Raises:
        ExportError: it has such layers.
    """
    layers: Iterable[Any] = getattr(model, "_flatten_layers", tuple)()
    half = [layer for layer in layers if str(getattr(layer, "compute_dtype", "")) in ("float16", "bfloat16")]
    if half:
        raise ExportError(
            f"{len(half)} layers of the model compute in {half[0].compute_dtype}, such as {half[-1].name}: its results "
            "differ from those of a bundle. Build the model again with the dtype policy float32, and copy the weights: "
            "new_model.set_weights(model.get_weights())."
        )


def count_parameters(model: Any) -> int:
    """Return the number of weights of a Keras model."""
    return int(sum(int(np.prod(variable.shape)) for variable in model.variables))


def raw_outputs(model: SourceModel, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Call a source model and return its outputs by name.

    Args:
        model: its `keras` returns a transformers output, a dict, or one tensor, the logits.
        inputs: int32 tensors ``[batch, length]`` by name.

    Returns:
        Tensors by name, without values that are None or not a tensor (attentions). If `model.last_layers` is more than
        1, `last_layers` has the last hidden states, concatenated along the features.

    Raises:
        ExportError: the model returns several outputs without names, or fewer hidden states than `model.last_layers`.
    """
    from bertbundle_export.tensorflow_import import tf

    outputs = model.keras(dict(inputs), training=False)
    if model.head_outputs:
        outputs = {name: outputs[key] for name, key in model.head_outputs.items()}
    if isinstance(outputs, tuple | list):
        outputs = _only_output(outputs)
    if not isinstance(outputs, Mapping):
        outputs = {"logits": outputs}
    named = {name: value for name, value in outputs.items() if hasattr(value, "dtype")}
    named |= {name: tf.cast(tf.convert_to_tensor(value), tf.float32) for name, value in model.extra_outputs.items()}
    if model.last_layers > 1:
        named["last_layers"] = _last_layers(outputs.get("hidden_states") or (), model.last_layers)
    return {name: value for name, value in named.items() if name not in model.dropped_outputs}


def _only_output(outputs: Sequence[Any]) -> Any:
    if len(outputs) == 1:
        return outputs[0]
    shapes = ", ".join(str(list(output.shape)) for output in outputs if hasattr(output, "shape"))
    raise ExportError(
        f"the model returns {len(outputs)} outputs without names, of shapes {shapes}: it is unclear which one the task "
        "is computed from. Return a dict, such as {'logits': ...}, or pass heads= to export several heads, or one."
    )


def _last_layers(hidden_states: Sequence[Any], count: int) -> Any:
    from bertbundle_export.tensorflow_import import tf

    if len(hidden_states) <= count:  # the first are the embeddings, not a layer's
        raise ExportError(
            f"last_layers is {count}, but the model returns hidden states of {max(len(hidden_states) - 1, 0)} layers. "
            "Choose fewer, or build a live model with output_hidden_states=True."
        )
    return tf.concat(list(hidden_states[-count:]), axis=-1)


def run_source(model: SourceModel, inputs: Mapping[str, npt.NDArray[np.int32]]) -> dict[str, npt.NDArray[Any]]:
    """Run the source model eagerly: every exported format is compared with its outputs.

    Raises:
        ExportError: the model rejects the inputs.
    """
    return {name: value.numpy() for name, value in _call(model, inputs, raw_outputs).items()}


def call_keras(model: SourceModel, inputs: Mapping[str, npt.NDArray[np.int32]]) -> Any:
    """Run the Keras model eagerly and return what it returns.

    Raises:
        ExportError: the model rejects the inputs.
    """
    return _call(model, inputs, lambda model, tensors: model.keras(dict(tensors), training=False))


def _call(model: SourceModel, inputs: Mapping[str, npt.NDArray[np.int32]], call: Callable[..., Any]) -> Any:
    from bertbundle_export.tensorflow_import import tf

    try:
        return call(model, {name: tf.constant(value) for name, value in inputs.items()})
    except (TypeError, ValueError, tf.errors.OpError) as error:
        raise ExportError(
            f"the source model cannot be called with {', '.join(inputs)}: {error}. It must accept them by name in "
            "one dict, and the argument `training`."
        ) from error
