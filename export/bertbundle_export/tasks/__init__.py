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

__all__ = ["POOLINGS", "TASKS", "HeadConfig", "Task", "check_pooling", "check_task"]

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
