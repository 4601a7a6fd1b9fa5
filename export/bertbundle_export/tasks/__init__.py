"""What a bundle answers: every module here with a `TASK` is a task."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle_export.errors import ExportError
from bertbundle_export.tasks.base import Arrays, Head, Task
from bertbundle_export.tasks.feature_extraction import POOLINGS

__all__ = ["POOLINGS", "TASKS", "Head", "Task", "check_outputs", "check_pooled", "check_pooling", "check_task"]


def _find() -> Mapping[str, Task]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    found: list[Task] = [module.TASK for module in modules if hasattr(module, "TASK")]
    return {task.name: task for task in found}


TASKS: Mapping[str, Task] = _find()
"""Every task by its name."""


def check_task(name: str) -> Task:
    """Return a task by its name.

    Raises:
        ExportError: there is no such task.
    """
    if name not in TASKS:
        raise ExportError(f"unknown task {name!r}, expected one of {', '.join(TASKS)}.")
    return TASKS[name]


def check_pooling(name: str) -> str:
    """Return the name of a pooling.

    Raises:
        ExportError: there is no such pooling.
    """
    if name not in POOLINGS:
        raise ExportError(f"unknown pooling {name!r}, expected one of {', '.join(POOLINGS)}.")
    return name


def check_pooled(raw: Arrays, pooling: str) -> None:
    """Check that a model returns what a pooling is made from.

    Raises:
        ExportError: pooling is by the pooler, and it has none.
    """
    if pooling == "pooler" and "pooler_output" not in raw:
        raise ExportError("the model has no pooler, or no weights for it. Choose another --pooling: mean, cls or max.")


def check_outputs(raw: Arrays, task: Task, labels: Sequence[str]) -> None:
    """Check that a model returns what its task is made from: numbers, with one column per label.

    Raises:
        ExportError: it does not.
    """
    for name in task.needs:
        if name not in raw:
            returned = ", ".join(raw) or "none"
            raise ExportError(f"task {task.name} needs the model's {name}, the model returns {returned}.")
        if not np.isfinite(raw[name]).all():
            raise ExportError(f"the model's {name} has values that are not finite on real texts. Check its weights.")
    shape = raw[task.needs[0]].shape
    if len(shape) != task.rank:
        raise ExportError(
            f"the model's {task.needs[0]} have shape {list(shape)}, task {task.name} needs {task.rank} dimensions. "
            "Check --task, or what the model returns."
        )
    columns = shape[-1]
    if task.has_labels and columns != len(labels):
        raise ExportError(
            f"the model has {columns} classes, {len(labels)} labels were given: {', '.join(labels)}. Give one a class."
        )
    if task.has_labels:
        _check_logits(raw[task.needs[0]])
    if task.regression and columns != 1:
        raise ExportError(f"the model gives {columns} values per text, a regression here gives one.")


def _check_logits(logits: npt.NDArray[Any]) -> None:
    """Refuse probabilities: a softmax of them is no probability of anything."""
    if logits.shape[-1] > 1 and logits.min(initial=0) >= 0 and np.allclose(logits.sum(axis=-1), 1, atol=1e-3):
        raise ExportError(
            "the model returns probabilities already: they sum to 1 for every text. Return logits, that is, leave out "
            "activation='softmax' of the last layer; the bundle makes probabilities of them."
        )
