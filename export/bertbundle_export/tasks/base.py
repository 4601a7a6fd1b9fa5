"""What defines a task: its outputs as graph operations and in numpy, and how parity compares them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bertbundle.contract.types import Arrays

__all__ = ["HeadConfig", "Task", "Tensors", "sigmoid", "softmax"]

Tensors: TypeAlias = Mapping[str, Any]
"""TensorFlow tensors by name."""


@dataclass(frozen=True, slots=True)
class HeadConfig:
    """How a task's outputs are computed from the model's. See `Manifest` for the fields it shares.

    Attributes:
        dense: the activation of each Dense layer after the pooling, a key of `tasks.feature_extraction.ACTIVATIONS`.
        special_ids: ids of the tokens that do not stand for text, including padding.
        mask_id: id of `mask_token`.
        top_k: number of tokens for each mask, or of spans for each text, in the outputs.
        heads: the configuration of each of several heads by name; empty if there is one.
    """

    labels: tuple[str, ...] = ()
    label_scheme: str = "none"
    label_decoding: str = "none"
    multi_label: bool = False
    pooling: str = "none"
    last_layers: int = 1
    dense: tuple[str, ...] = ()
    normalized: bool = False
    special_ids: tuple[int, ...] = ()
    mask_token: str = ""
    mask_id: int = -1
    top_k: int = 0
    span_threshold: float = 0.0
    heads: Mapping[str, HeadConfig] = field(default_factory=dict)


def _unchanged(inputs: Arrays, head: HeadConfig) -> Arrays:
    del head
    return inputs


@dataclass(frozen=True, slots=True)
class Task:
    """A task. To add one, write a module with a `TASK`, and add it to `TASKS`.

    Attributes:
        name: for `--task` and the manifest.
        class_suffix: suffix of transformers' class names for its checkpoints, such as "ForTokenClassification".
        required_outputs: names of the model's outputs that the task's outputs are computed from.
        rank: number of dimensions of the first of them.
        graph: computes the task's outputs from the model's outputs and inputs, as tensors.
        reference: computes the same in numpy.
        has_labels: whether the first required output has one column per label, at `label_axis`.
        label_axis: the axis of the labels.
        regression: whether the first required output has one column, the value.
        class_outputs: outputs whose largest column is the predicted class: parity compares the classes.
        rank_outputs: integer outputs that are ranked, with the output of their scores: parity ignores near ties.
        span_outputs: the outputs of spans, of their scores and of their number: parity compares sets of spans, and
            ignores near ties with the threshold.
        score_outputs: outputs that score what another output chose: parity compares them where the choices agree.
        prepare_examples: changes the inputs made from the parity texts so that the task applies to them.
    """

    name: str
    class_suffix: str
    required_outputs: tuple[str, ...]
    rank: int
    graph: Callable[[Tensors, Tensors, HeadConfig], dict[str, Any]]
    reference: Callable[[Arrays, Arrays, HeadConfig], dict[str, npt.NDArray[Any]]]
    has_labels: bool = False
    label_axis: int = -1
    regression: bool = False
    class_outputs: tuple[str, ...] = ()
    rank_outputs: Mapping[str, str] = field(default_factory=dict)
    span_outputs: tuple[str, ...] = ()
    score_outputs: Mapping[str, str] = field(default_factory=dict)
    prepare_examples: Callable[[Arrays, HeadConfig], Arrays] = _unchanged


def softmax(logits: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the softmax over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    quotient: npt.NDArray[Any] = powers / powers.sum(axis=-1, keepdims=True)
    return quotient


def sigmoid(logits: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the logistic function, without overflow."""
    values: npt.NDArray[Any] = 0.5 * (1 + np.tanh(0.5 * logits))
    return values
