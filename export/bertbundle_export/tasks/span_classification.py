"""Span classification: the spans of tokens whose score for a label exceeds a threshold, such as nested entities.

The graph selects them, because the logits of one text are labels x length x length numbers.

Source of the decoding: the evaluation of GlobalPointer (Su et al., "Global Pointer: Novel Efficient Span-based Approach
for Named Entity Recognition", arXiv:2208.03054): every span of the text with a logit above the threshold is an entity.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.contract.types import Arrays
from bertbundle_export.tasks.base import HeadConfig, Task, Tensors, sigmoid

__all__ = ["TASK"]

_EXCLUDED = float(np.finfo(np.float32).min)
# Models mask spans with minus infinity or -1e12; the scores below are 0 in float32.
_LOWEST_LOGIT = -100.0


def _graph(raw: Tensors, inputs: Tensors, head: HeadConfig) -> dict[str, Any]:
    from bertbundle_export.tensorflow_import import tf

    ids = inputs["input_ids"]
    length = tf.shape(ids)[1]
    special = tf.reduce_any(ids[:, :, None] == tf.constant(head.special_ids, tf.int32), axis=-1)
    is_text = tf.logical_and(tf.logical_not(special), inputs["attention_mask"] == 1)
    positions = tf.range(length)
    candidates = is_text[:, :, None] & is_text[:, None, :] & (positions[:, None] <= positions)
    # A sum is one pass over the logits; tf2onnx converts tf.where to four.
    logits = tf.cast(raw["logits"], tf.float32) + tf.where(candidates, 0.0, _EXCLUDED)[:, None]
    flat = tf.reshape(logits, [-1, len(head.labels) * length * length])
    # Short signatures may have fewer candidates than the outputs have rows.
    values, indices = tf.math.top_k(tf.pad(flat, [[0, 0], [0, head.top_k]], constant_values=_EXCLUDED), head.top_k)
    is_used = values > head.span_threshold
    label = indices // (length * length)
    rest = indices - label * length * length
    spans = tf.stack([label, rest // length, rest - rest // length * length], axis=-1)
    best = tf.maximum(tf.transpose(tf.reduce_max(logits, axis=3), [0, 2, 1]), _LOWEST_LOGIT)
    return {
        "spans": tf.ensure_shape(tf.where(is_used[:, :, None], spans, -1), [None, head.top_k, 3]),
        "span_scores": tf.ensure_shape(tf.where(is_used, tf.sigmoid(values), 0.0), [None, head.top_k]),
        "span_counts": tf.reduce_sum(tf.cast(flat > head.span_threshold, tf.int32), axis=1),
        "start_logits": tf.ensure_shape(tf.where(is_text[:, :, None], best, 0.0), [None, None, len(head.labels)]),
    }


def _reference(raw: Arrays, inputs: Arrays, head: HeadConfig) -> dict[str, npt.NDArray[Any]]:
    logits = np.maximum(raw["logits"].astype(np.float32), np.float32(_LOWEST_LOGIT))
    is_text = ~np.isin(inputs["input_ids"], head.special_ids) & (inputs["attention_mask"] == 1)
    candidates = np.triu(is_text[:, :, None] & is_text[:, None, :])
    logits = np.where(candidates[:, None], logits, np.float32(_EXCLUDED))
    spans = np.full((len(logits), head.top_k, 3), -1, np.int32)
    scores = np.zeros((len(logits), head.top_k), np.float32)
    counts = np.zeros(len(logits), np.int32)
    for row, of_row in enumerate(logits):
        found = np.argwhere(of_row > head.span_threshold)
        values = of_row[tuple(found.T)]
        best = np.argsort(-values, kind="stable")[: head.top_k]
        spans[row, : len(best)], scores[row, : len(best)], counts[row] = found[best], sigmoid(values[best]), len(found)
    starts = np.where(is_text[:, :, None], logits.max(axis=3).transpose(0, 2, 1), np.float32(0))
    return {"spans": spans, "span_scores": scores, "span_counts": counts, "start_logits": starts}


TASK = Task(
    name="span-classification",
    class_suffix="ForSpanClassification",
    required_outputs=("logits",),
    rank=4,
    graph=_graph,
    reference=_reference,
    has_labels=True,
    label_axis=1,
    span_outputs=("spans", "span_scores", "span_counts"),
    score_outputs={"span_scores": "spans"},
)
