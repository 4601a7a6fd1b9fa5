"""What a task is: what its outputs are made from, as graph operations and as a numpy reference of the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Arrays", "Head", "Task", "Tensors", "sigmoid", "softmax"]

Arrays: TypeAlias = Mapping[str, npt.NDArray[Any]]
Tensors: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Head:
    """What comes after the model: the choices a task's outputs depend on. See `Manifest` for the fields."""

    labels: tuple[str, ...] = ()
    label_scheme: str = "none"
    label_decoding: str = "none"
    multi_label: bool = False
    pooling: str = "none"
    last_layers: int = 1
    normalized: bool = False
    special_ids: tuple[int, ...] = ()
    mask_token: str = ""
    mask_id: int = -1
    top_k: int = 0


def _as_they_are(inputs: Arrays, head: Head) -> Arrays:
    del head
    return inputs


@dataclass(frozen=True, slots=True)
class Task:
    """A task. An instance called `TASK` in a module here is all it takes.

    Attributes:
        name: as `--task` and the manifest say it.
        head: what follows the encoder in the name of transformers' class for its checkpoints.
        needs: names of the model's outputs that it is made from.
        rank: number of dimensions of the first of them.
        graph: make the outputs from the model's outputs and inputs, as tensors.
        reference: the same in numpy.
        has_labels: whether the first of `needs` has one column per label.
        regression: whether the head's one column is a value instead.
        classes: outputs whose largest column is the answer: parity asks for the same column.
        ranked: integer outputs that rank, by the output of their scores: parity lets only near ties change places.
        scored: outputs that hold scores of what another chose: parity compares them where the choices agree.
        examples: change the parity texts' inputs so that they ask what the task answers.
    """

    name: str
    head: str
    needs: tuple[str, ...]
    rank: int
    graph: Callable[[Tensors, Tensors, Head], dict[str, Any]]
    reference: Callable[[Arrays, Arrays, Head], dict[str, npt.NDArray[Any]]]
    has_labels: bool = False
    regression: bool = False
    classes: tuple[str, ...] = ()
    ranked: Mapping[str, str] = field(default_factory=dict)
    scored: Mapping[str, str] = field(default_factory=dict)
    examples: Callable[[Arrays, Head], Arrays] = _as_they_are


def softmax(logits: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the softmax over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    quotient: npt.NDArray[Any] = powers / powers.sum(axis=-1, keepdims=True)
    return quotient


def sigmoid(logits: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the logistic function, without overflow."""
    values: npt.NDArray[Any] = 0.5 * (1 + np.tanh(0.5 * logits))
    return values
