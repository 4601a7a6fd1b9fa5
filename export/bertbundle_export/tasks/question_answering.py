"""Question answering: how well each token begins, and ends, the answer within a context."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle_export.tasks.base import Arrays, Head, Task, Tensors

__all__ = ["TASK"]

_NEEDS = ("start_logits", "end_logits")


def _graph(raw: Tensors, inputs: Tensors, head: Head) -> dict[str, Any]:
    from bertbundle_export.tensorflow_import import tf

    del inputs, head
    return {name: tf.cast(raw[name], tf.float32) for name in _NEEDS}


def _reference(raw: Arrays, inputs: Arrays, head: Head) -> dict[str, npt.NDArray[Any]]:
    del inputs, head
    return {name: raw[name].astype(np.float32) for name in _NEEDS}


TASK = Task(
    name="question-answering", head="ForQuestionAnswering", needs=_NEEDS, rank=2, graph=_graph, reference=_reference
)
