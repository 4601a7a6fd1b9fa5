"""Question answering: the score of each token as the start, and as the end, of the answer in a context."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.contract.types import Arrays
from bertbundle_export.tasks.base import HeadConfig, Task, Tensors

__all__ = ["TASK"]

_OUTPUTS = ("start_logits", "end_logits")


def _graph(raw: Tensors, inputs: Tensors, head: HeadConfig) -> dict[str, Any]:
    from bertbundle_export.tensorflow_import import tf

    del inputs, head
    return {name: tf.cast(raw[name], tf.float32) for name in _OUTPUTS}


def _reference(raw: Arrays, inputs: Arrays, head: HeadConfig) -> dict[str, npt.NDArray[Any]]:
    del inputs, head
    return {name: raw[name].astype(np.float32) for name in _OUTPUTS}


TASK = Task(
    name="question-answering",
    class_suffix="ForQuestionAnswering",
    required_outputs=_OUTPUTS,
    rank=2,
    graph=_graph,
    reference=_reference,
)
