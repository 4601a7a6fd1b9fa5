"""Text classification: each class's probability, of classes that exclude each other or that do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle_export.tasks.base import Arrays, Head, Task, Tensors, sigmoid, softmax

__all__ = ["TASK"]


def _class_graph(raw: Tensors, inputs: Tensors, head: Head) -> dict[str, Any]:
    from bertbundle_export.tensorflow_import import tf

    del inputs
    logits = tf.cast(raw["logits"], tf.float32)
    return {"logits": logits, "scores": tf.sigmoid(logits) if head.multi_label else tf.nn.softmax(logits)}


def _class_reference(raw: Arrays, inputs: Arrays, head: Head) -> dict[str, npt.NDArray[Any]]:
    del inputs
    logits = raw["logits"].astype(np.float32)
    return {"logits": logits, "scores": sigmoid(logits) if head.multi_label else softmax(logits)}


TASK = Task(
    name="text-classification",
    head="ForSequenceClassification",
    needs=("logits",),
    rank=2,
    graph=_class_graph,
    reference=_class_reference,
    has_labels=True,
    classes=("logits", "scores"),
)
