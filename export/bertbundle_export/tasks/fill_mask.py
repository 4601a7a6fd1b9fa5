"""Fill-mask: the most likely tokens at each [MASK].

The graph selects them, because the logits of a whole batch are 100 MB or more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.contract.types import Arrays
from bertbundle_export.tasks.base import HeadConfig, Task, Tensors, softmax

__all__ = ["TASK"]

_MASK_INTERVAL = 5
"""Every fifth token of the parity texts is masked: they have no [MASK] themselves."""


def _graph(raw: Tensors, inputs: Tensors, head: HeadConfig) -> dict[str, Any]:
    from bertbundle_export.tensorflow_import import tf

    ids = inputs["input_ids"]
    masked = tf.where(tf.equal(ids, head.mask_id))
    probabilities = tf.nn.softmax(tf.cast(tf.gather_nd(raw["logits"], masked), tf.float32))
    scores, tokens = tf.math.top_k(probabilities, head.top_k)
    shape = tf.concat([tf.shape(ids, tf.int64), [head.top_k]], 0)
    return {
        "token_ids": tf.ensure_shape(tf.scatter_nd(masked, tokens, shape), [None, None, head.top_k]),
        "token_scores": tf.ensure_shape(tf.scatter_nd(masked, scores, shape), [None, None, head.top_k]),
    }


def _reference(raw: Arrays, inputs: Arrays, head: HeadConfig) -> dict[str, npt.NDArray[Any]]:
    masked = inputs["input_ids"] == head.mask_id
    probabilities = softmax(raw["logits"][masked].astype(np.float32))
    order = np.argsort(-probabilities, axis=-1, kind="stable")[:, : head.top_k]
    shape = (*masked.shape, head.top_k)
    tokens, scores = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    tokens[masked], scores[masked] = order, np.take_along_axis(probabilities, order, axis=-1)
    return {"token_ids": tokens, "token_scores": scores}


def _mask_tokens(inputs: Arrays, head: HeadConfig) -> Arrays:
    """Mask tokens of the parity texts, except special ones."""
    ids = inputs["input_ids"].copy()
    masked = np.arange(ids.shape[1]) % _MASK_INTERVAL == _MASK_INTERVAL - 1
    ids[masked[None, :] & ~np.isin(ids, head.special_ids)] = head.mask_id
    return {**inputs, "input_ids": ids}


TASK = Task(
    name="fill-mask",
    class_suffix="ForMaskedLM",
    required_outputs=("logits",),
    rank=3,
    graph=_graph,
    reference=_reference,
    rank_outputs={"token_ids": "token_scores"},
    prepare_examples=_mask_tokens,
)
