"""A source model: a Keras BERT with all that a bundle needs to know of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import tokenizers

from bertbundle.contract.manifest import InputSpec, Source
from bertbundle_export.errors import CheckpointError, ExportError

if TYPE_CHECKING:
    from bertbundle_export.tasks import Task

__all__ = [
    "SourceModel",
    "choose_labels",
    "count_parameters",
    "fixed_length",
    "multi_label",
    "raw_outputs",
    "run_source",
    "taken_inputs",
]

_PLACEHOLDER = re.compile(r"LABEL_\d+")


@dataclass(frozen=True, slots=True)
class SourceModel:
    """What a checkpoint format hands to the export.

    Attributes:
        keras: the model; called with the inputs by name and ``training=False``.
        task: name of a row of `tasks.TASKS`.
        tokenizer: without truncation and padding of its own.
        source: where it came from.
        inputs: the inputs of every signature.
        max_positions: longest sequence the model can take; None if unknown.
        labels: label of each class index.
        multi_label: whether classes are independent.
        pooling, normalized: how the sentence embedding is made.
        last_layers: number of last layers that features are made of, concatenated.
        more_outputs: variables, tensors or arrays that count as outputs of the model, such as a CRF's transitions.
        dropped_outputs: outputs of the model that mean nothing: made from weights that it has no values for.
    """

    keras: Any
    task: str
    tokenizer: tokenizers.Tokenizer
    source: Source
    inputs: tuple[InputSpec, ...]
    max_positions: int | None
    labels: tuple[str, ...] = ()
    multi_label: bool = False
    pooling: str = "none"
    normalized: bool = False
    last_layers: int = 1
    more_outputs: Mapping[str, Any] = field(default_factory=dict)
    dropped_outputs: frozenset[str] = frozenset()

    @property
    def variables(self) -> list[Any]:
        """Every variable that the outputs may depend on."""
        known = {id(variable) for variable in self.keras.variables}
        more = [value for value in self.more_outputs.values() if hasattr(value, "assign") and id(value) not in known]
        return [*self.keras.variables, *more]


def choose_labels(labels: Sequence[str], task: Task, *, independent: bool | None = None) -> tuple[str, ...]:
    """Return a head's labels, if they can be; a single one only where classes are independent.

    Raises:
        CheckpointError: none, placeholders that a tagger cannot mean, one label only, or the same label twice.
    """
    placeholders = all(_PLACEHOLDER.fullmatch(label) for label in labels)
    if not labels or (placeholders and task.name == "token-classification"):
        raise CheckpointError(
            f"the model has no labels for {task.name} ({', '.join(labels) or 'none'}). Pass --labels (labels= in "
            "Python), in the order of the class indices."
        )
    if len(labels) == 1 and not independent:
        raise CheckpointError(
            f"one class, {labels[0]}: that is no choice. Pass --task regression if it is a value, or --multi-label if "
            "it is a probability by sigmoid."
        )
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise CheckpointError(f"labels must differ, {', '.join(twice)} is there more than once. Pass others.")
    return tuple(labels)


def multi_label(problem_type: str | None, given: bool | None) -> bool:
    """Return whether classes are independent, as the user or else the model's `problem_type` says."""
    return problem_type == "multi_label_classification" if given is None else given


def _is_functional(model: Any) -> bool:
    return bool(getattr(model, "_is_graph_network", type(model).__name__ == "Functional"))


def fixed_length(model: Any) -> int | None:
    """Return the one number of tokens that a functional model's Inputs allow; None if it takes any."""
    shapes = [tuple(tensor.shape) for tensor in model.inputs] if _is_functional(model) else []
    return next((shape[1] for shape in shapes if len(shape) == 2 and shape[1] is not None), None)


def taken_inputs(model: Any, inputs: tuple[InputSpec, ...]) -> tuple[InputSpec, ...]:
    """Return those of BERT's inputs that a Keras model takes: a functional one may have no token_type_ids.

    Raises:
        CheckpointError: a functional model takes others, or no mask.
    """
    if not _is_functional(model):
        return inputs
    names = [str(tensor.name).partition(":")[0] for tensor in model.inputs]
    known = [spec.name for spec in inputs]
    if not set(names) <= set(known) or not {"input_ids", "attention_mask"} <= set(names):
        raise CheckpointError(
            f"the functional model takes {', '.join(names)}; it must take input_ids and attention_mask by these names, "
            f"and may take {', '.join(known[2:]) or 'nothing else'}. Name its Inputs so."
        )
    return tuple(spec for spec in inputs if spec.name in names)


def count_parameters(model: Any) -> int:
    """Return the number of weights of a Keras model."""
    return int(sum(int(np.prod(variable.shape)) for variable in model.variables))


def raw_outputs(model: SourceModel, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Call a source model and name what it returns.

    Args:
        model: its `keras` returns a transformers output, a dict, or one tensor (taken as the logits).
        inputs: int32 tensors ``[batch, length]`` by name.

    Returns:
        Tensors by name, without what is None or not a tensor (attentions); of the hidden states the last ones,
        concatenated along the features, as `last_layers`, where the model is to give more than one.

    Raises:
        ExportError: the model gives fewer hidden states than are asked for.
    """
    from bertbundle_export.tensorflow_import import tf

    answer = model.keras(dict(inputs), training=False)
    if isinstance(answer, tuple | list):
        answer = answer[0]
    if not isinstance(answer, Mapping):
        answer = {"logits": answer}
    named = {name: value for name, value in answer.items() if hasattr(value, "dtype")}
    named |= {name: tf.cast(tf.convert_to_tensor(value), tf.float32) for name, value in model.more_outputs.items()}
    if model.last_layers > 1:
        named["last_layers"] = _last_layers(answer.get("hidden_states") or (), model.last_layers)
    return {name: value for name, value in named.items() if name not in model.dropped_outputs}


def _last_layers(hidden_states: Sequence[Any], count: int) -> Any:
    from bertbundle_export.tensorflow_import import tf

    if len(hidden_states) <= count:  # the first are the embeddings, which are no layer's
        raise ExportError(
            f"the last {count} layers are to be concatenated, the model gives {max(len(hidden_states) - 1, 0)}. Choose "
            "fewer; a live model must be made with output_hidden_states=True."
        )
    return tf.concat(list(hidden_states[-count:]), axis=-1)


def run_source(model: SourceModel, inputs: Mapping[str, npt.NDArray[np.int32]]) -> dict[str, npt.NDArray[Any]]:
    """Run the source model as it stands, eagerly: what every exported format is held against.

    Raises:
        ExportError: the model refuses the inputs.
    """
    from bertbundle_export.tensorflow_import import tf

    try:
        raw = raw_outputs(model, {name: tf.constant(value) for name, value in inputs.items()})
    except (TypeError, ValueError, tf.errors.OpError) as error:
        raise ExportError(
            f"the source model cannot be called with {', '.join(inputs)}: {error}. It must take them by name in one "
            "dict, and `training`."
        ) from error
    return {name: value.numpy() for name, value in raw.items()}
