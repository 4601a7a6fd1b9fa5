"""Regression: one number for a text or a pair of texts, such as their similarity."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.contract.types import Arrays
from bertbundle_export.tasks.base import HeadConfig, Task, Tensors

__all__ = ["TASK"]


def _graph(raw: Tensors, inputs: Tensors, head: HeadConfig) -> dict[str, Any]:
    from bertbundle_export.tensorflow_import import tf

    del inputs, head
    return {"value": tf.cast(raw["logits"], tf.float32)[:, 0]}


def _reference(raw: Arrays, inputs: Arrays, head: HeadConfig) -> dict[str, npt.NDArray[Any]]:
    del inputs, head
    return {"value": raw["logits"].astype(np.float32)[:, 0]}


TASK = Task(
    name="regression",
    class_suffix="ForSequenceClassification",
    required_outputs=("logits",),
    rank=2,
    graph=_graph,
    reference=_reference,
    regression=True,
)
