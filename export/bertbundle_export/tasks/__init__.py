"""The tasks: what a bundle computes from a model's outputs. Importing this package does not import TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping

from bertbundle_export.errors import ExportError
from bertbundle_export.tasks import (
    feature_extraction,
    fill_mask,
    question_answering,
    regression,
    span_classification,
    text_classification,
    token_classification,
)
from bertbundle_export.tasks.base import HeadConfig, Task
from bertbundle_export.tasks.feature_extraction import POOLINGS
from bertbundle_export.tasks.heads import HeadSpec, as_labels, multi_task, outputs_of_head, read_heads

__all__ = [
    "HEAD_TASKS",
    "POOLINGS",
    "TASKS",
    "HeadConfig",
    "HeadSpec",
    "Task",
    "as_labels",
    "check_pooling",
    "check_task",
    "outputs_of_head",
    "read_heads",
    "task_of",
]

TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        feature_extraction.TASK,
        fill_mask.TASK,
        question_answering.TASK,
        regression.TASK,
        span_classification.TASK,
        text_classification.TASK,
        token_classification.TASK,
    )
}
"""Every task by name."""
HEAD_TASKS: Mapping[str, Task] = {
    task.name: task for task in (token_classification.TASK, text_classification.TASK, regression.TASK)
}
"""The tasks that one of several heads may have: each is computed from one output of the model, its logits."""


def task_of(name: str, heads: Mapping[str, HeadSpec]) -> Task:
    """Return the task with this name, or that of the heads if there are some."""
    return multi_task({head: HEAD_TASKS[spec.task] for head, spec in heads.items()}) if heads else TASKS[name]


def check_task(name: str) -> Task:
    """Return the task with this name.

    Raises:
        ExportError: there is no such task.
    """
    if name not in TASKS:
        raise ExportError(f"unknown task {name!r}, expected one of {', '.join(TASKS)}.")
    return TASKS[name]


def check_pooling(name: str) -> str:
    """Check the name of a pooling and return it.

    Raises:
        ExportError: there is no such pooling.
    """
    if name not in POOLINGS:
        raise ExportError(f"unknown pooling {name!r}, expected one of {', '.join(POOLINGS)}.")
    return name
