"""Check that a source model has the outputs that its task needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.contract.types import Arrays
from bertbundle_export.errors import ExportError
from bertbundle_export.tasks.base import Task
from bertbundle_export.tasks.crf import TABLES
from bertbundle_export.tasks.feature_extraction import DENSE_WEIGHT

__all__ = ["check_operations", "check_outputs", "check_pooler", "own_outputs", "unused_outputs"]

# Outputs of transformers' classes beside those of the task.
_TRANSFORMERS_OUTPUTS = ("last_hidden_state", "last_layers", "pooler_output", "seq_relationship_logits", "loss")
# Rank of logits with one value for each label and pair of tokens.
_PAIRS_RANK = 4


def check_pooler(outputs: Arrays, pooling: str) -> None:
    """Check that a model returns its pooler's output if the pooling needs it.

    Raises:
        ExportError: the pooling is "pooler" and the model has none.
    """
    if pooling == "pooler" and "pooler_output" not in outputs:
        raise ExportError("the model has no pooler, or no weights for it. Choose another --pooling: mean, cls or max.")


def check_outputs(
    outputs: Arrays, task: Task, labels: Sequence[str], *, length: int, multi_label: bool = False
) -> None:
    """Check that a model returns what a task needs: finite values, of the right rank, with one column per label.

    Args:
        outputs: the model's outputs for several texts, by name.
        task: the task.
        labels: label of each class index.
        length: number of tokens of the inputs.
        multi_label: whether classes are independent.

    Raises:
        ExportError: it does not.
    """
    for name in task.required_outputs:
        _check_required(outputs, name, task)
    logits = outputs[task.required_outputs[0]]
    if logits.ndim != task.rank:
        raise ExportError(
            f"the model's {task.required_outputs[0]} have shape {list(logits.shape)}, task {task.name} needs "
            f"{task.rank} dimensions. Check --task, or what the model returns."
        )
    columns = logits.shape[task.label_axis]
    if task.regression and columns != 1:
        raise ExportError(f"the model returns {columns} values per text, task regression needs one.")
    if task.has_labels and columns != len(labels):
        raise ExportError(
            f"the model has {columns} classes, but {len(labels)} labels were given: {', '.join(labels)}. Give one "
            "label per class."
        )
    if task.rank == _PAIRS_RANK:
        _check_pairs(logits, length)
    elif task.has_labels:
        _check_logits(logits, multi_label=multi_label)


def check_operations(operations: Mapping[str, str], task: Task) -> list[str]:
    """Check the operations that a model's logits end in: the softmax or the sigmoid of probabilities is meaningless.

    Args:
        operations: TensorFlow's name of the operation that computes each of the model's outputs.
        task: the task, whose outputs called logits are checked; values of a regression may end in any operation.

    Returns:
        Notes for the user.

    Raises:
        ExportError: logits are probabilities.
    """
    logits = [] if task.regression else [name for name in task.required_outputs if name.endswith("logits")]
    for name in logits:
        if operations.get(name) in ("Sigmoid", "Softmax"):
            applied = operations[name].lower()
            raise ExportError(
                f"the model returns probabilities: its {name} are computed by a {applied}. Return logits instead: "
                f"remove activation='{applied}' from the last layer. The bundle computes the probabilities."
                f"{_INDEPENDENT if applied == 'sigmoid' and task.name == 'text-classification' else ''}"
            )
    return [
        f"the model's {name} are computed by a {operations[name]}: the bundle computes probabilities from them."
        for name in logits
        if operations.get(name, "") in ("Elu", "LeakyRelu", "Relu", "Relu6", "Selu", "Softplus")
    ]


_INDEPENDENT = " If classes are independent, also pass --multi-label (multi_label=True in Python)."


def unused_outputs(outputs: Arrays, task: Task) -> list[str]:
    """Return the names of a model's own outputs that a task is not computed from, such as those of another head."""
    dense_weights = filter(DENSE_WEIGHT.fullmatch, outputs)
    return own_outputs(outputs.keys() - {*task.required_outputs, *TABLES, *dense_weights})


def own_outputs(names: Iterable[str]) -> list[str]:
    """Return the names of outputs without those that transformers' classes return beside the logits."""
    return sorted(set(names) - {*_TRANSFORMERS_OUTPUTS})


def _check_required(outputs: Arrays, name: str, task: Task) -> None:
    if name not in outputs:
        returned = ", ".join(outputs) or "none"
        raise ExportError(
            f"task {task.name} needs the model's {name}, the model returns {returned}. For several heads, or "
            "one of them, pass heads= (--head on the command line)."
        )
    # A span that is masked, such as one that ends before it starts, has the logit minus infinity.
    masked = np.isneginf(outputs[name]) & (task.rank == _PAIRS_RANK)
    if not (np.isfinite(outputs[name]) | masked).all():
        raise ExportError(f"the model's {name} has values that are not finite on real texts. Check its weights.")


def _check_pairs(logits: npt.NDArray[Any], length: int) -> None:
    """Check the scores of pairs of tokens, and reject probabilities: all of them would exceed a threshold of 0."""
    if logits.shape[2:] != (length, length):
        raise ExportError(
            f"the model's logits have shape {list(logits.shape)} for {length} tokens, task span-classification needs "
            f"[texts, labels, {length}, {length}]: a score for each label, first token and last token."
        )
    if logits.min(initial=0) >= 0 and logits.max(initial=0) <= 1:
        raise ExportError(
            "the model returns probabilities: every score is between 0 and 1. Return logits instead: remove the "
            "sigmoid from the last layer. The bundle applies it."
        )


def _check_logits(logits: npt.NDArray[Any], *, multi_label: bool) -> None:
    """Reject probabilities: the softmax or the sigmoid of probabilities is meaningless."""
    if multi_label and logits.min(initial=0) >= 0 and logits.max(initial=0) <= 1 and np.ptp(logits) > 0:
        raise ExportError(
            "the model returns probabilities: every value for every text is between 0 and 1. Return logits instead: "
            "remove activation='sigmoid' from the last layer. The bundle computes the probabilities."
        )
    if logits.shape[-1] > 1 and logits.min(initial=0) >= 0 and np.allclose(logits.sum(axis=-1), 1, atol=1e-3):
        raise ExportError(
            "the model returns probabilities: they sum to 1 for every text. Return logits instead: remove "
            "activation='softmax' from the last layer. The bundle computes the probabilities."
        )
