"""Text classification: the probability of each class, by softmax, or by sigmoid for independent classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.contract.types import Arrays
from bertbundle_export.tasks.base import HeadConfig, Task, Tensors, sigmoid, softmax

__all__ = ["TASK"]


def _graph(raw: Tensors, inputs: Tensors, head: HeadConfig) -> dict[str, Any]:
    from bertbundle_export.tensorflow_import import tf

    del inputs
    logits = tf.cast(raw["logits"], tf.float32)
    return {"logits": logits, "scores": tf.sigmoid(logits) if head.multi_label else tf.nn.softmax(logits)}


def _reference(raw: Arrays, inputs: Arrays, head: HeadConfig) -> dict[str, npt.NDArray[Any]]:
    del inputs
    logits = raw["logits"].astype(np.float32)
    return {"logits": logits, "scores": sigmoid(logits) if head.multi_label else softmax(logits)}


TASK = Task(
    name="text-classification",
    class_suffix="ForSequenceClassification",
    required_outputs=("logits",),
    rank=2,
    graph=_graph,
    reference=_reference,
    has_labels=True,
    class_outputs=("logits", "scores"),
)
