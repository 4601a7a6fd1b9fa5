"""Several heads in one model: the user's description of each, and the task that they make together."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

from bertbundle._shared.validation import short_repr
from bertbundle.contract.heads import MULTI_TASK, check_head_names, output_name
from bertbundle_export.errors import ExportError
from bertbundle_export.tasks.base import HeadConfig, Task

__all__ = ["HeadSpec", "as_labels", "multi_task", "outputs_of_head", "read_heads"]

Outputs = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSpec:
    """What the user states about one of several heads.

    Attributes:
        task: token-classification, text-classification or regression.
        labels: label of each class index; none for regression.
        multi_label: whether classes are independent; None for the setting of a checkpoint, else False.
        pooling: for text classification and regression, what a layer in a checkpoint reads: a key of `tasks.POOLINGS`;
            None if the checkpoint states it. Live models need none.
        label_scheme, label_decoding, crf_transitions, crf_start, crf_end, word_labels: see `ExportOptions`.
    """

    task: str
    labels: tuple[str, ...] = ()
    multi_label: bool | None = None
    pooling: str | None = None
    label_scheme: str | None = None
    label_decoding: str = "auto"
    crf_transitions: str | None = None
    crf_start: str | None = None
    crf_end: str | None = None
    word_labels: str = "token"

    def __post_init__(self) -> None:
        if not isinstance(self.task, str):
            raise ExportError(f"the task is {short_repr(self.task)}, expected a str.")
        object.__setattr__(self, "labels", as_labels(self.labels))


def as_labels(labels: Any) -> tuple[str, ...]:
    """Return the user's labels as a tuple; None is no labels.

    Raises:
        ExportError: they are not str in an order; one str is not a list of its characters.
    """
    is_list = isinstance(labels, Iterable) and not isinstance(labels, str | bytes | Mapping | Set)
    found = tuple(labels) if is_list else ()
    if not (is_list or labels is None) or not all(isinstance(label, str) for label in found):
        raise ExportError(
            f"labels are {short_repr(labels)}, expected a list of str: a label for each class index, in order."
        )
    return found


def read_heads(heads: Mapping[str, Any], tasks: Mapping[str, Task]) -> dict[str, HeadSpec]:
    """Return the user's heads, each as a `HeadSpec`.

    Args:
        heads: a `HeadSpec`, or a task and its labels, by name.
        tasks: the tasks that a head may have.

    Raises:
        ExportError: there is none, a name is not valid, or a task is unknown or not possible for a head.
    """
    if not isinstance(heads, Mapping) or not heads:
        raise ExportError(
            f"heads are {short_repr(heads)}, expected a dict with the task and the labels of each head by name. For "
            "a model with one head pass task and labels instead."
        )
    try:
        check_head_names(heads)
    except ValueError as error:
        raise ExportError(f"{error}.") from error
    specs = {name: _read_head(name, head) for name, head in heads.items()}
    for name, spec in specs.items():
        if spec.task not in tasks:
            raise ExportError(
                f"head {name} has the task {short_repr(spec.task)}: one of several heads may have {', '.join(tasks)}."
            )
    return specs


def _read_head(name: str, head: Any) -> HeadSpec:
    if isinstance(head, HeadSpec):
        return head
    parts = (head, ()) if isinstance(head, str) else head
    if not isinstance(parts, tuple | list) or len(parts) != 2:
        raise ExportError(
            f"head {name} is {short_repr(head)}, expected a task and its labels, such as ('text-classification', "
            "['yes', 'no']), or a HeadSpec."
        )
    try:
        return HeadSpec(task=parts[0], labels=as_labels(parts[1]))
    except ExportError as error:
        raise ExportError(f"head {name}: {error}") from error


def outputs_of_head(outputs: Outputs, head: str) -> dict[str, Any]:
    """Return the outputs of one head, by their names in its task."""
    prefix = output_name(head, "")
    return {name.removeprefix(prefix): value for name, value in outputs.items() if name.startswith(prefix)}


def multi_task(tasks: Mapping[str, Task]) -> Task:
    """Return the task of a model with several heads; it computes the outputs of each by the head's own task.

    Args:
        tasks: the task of each head by name. The model's outputs, and the task's, are called ``<head>.<output>``.
    """
    parts = tuple(tasks.items())
    return Task(
        name=MULTI_TASK,
        class_suffix="",
        required_outputs=tuple(output_name(key, output) for key, task in parts for output in task.required_outputs),
        rank=0,
        graph=functools.partial(_compute, functions={key: task.graph for key, task in parts}),
        reference=functools.partial(_compute, functions={key: task.reference for key, task in parts}),
        class_outputs=tuple(output_name(key, output) for key, task in parts for output in task.class_outputs),
        rank_outputs=_prefixed(tasks, "rank_outputs"),
        score_outputs=_prefixed(tasks, "score_outputs"),
    )


def _compute(
    raw: Outputs, inputs: Outputs, config: HeadConfig, *, functions: Mapping[str, Callable[..., dict[str, Any]]]
) -> dict[str, Any]:
    """Return the outputs of all heads, each computed by its own function."""
    outputs: dict[str, Any] = {}
    for head, function in functions.items():
        computed = function(outputs_of_head(raw, head), inputs, config.heads[head])
        outputs |= {output_name(head, name): value for name, value in computed.items()}
    return outputs


def _prefixed(tasks: Mapping[str, Task], field: str) -> dict[str, str]:
    """Return the pairs of outputs in a field of all tasks."""
    pairs = [(key, *pair) for key, task in tasks.items() for pair in getattr(task, field).items()]
    return {output_name(key, output): output_name(key, other) for key, output, other in pairs}
