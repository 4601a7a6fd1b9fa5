"""Token classification: the label of each token and its probability."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.contract.types import Arrays
from bertbundle_export.tasks.base import HeadConfig, Task, Tensors, softmax
from bertbundle_export.tasks.crf import TABLES, crf_graph, crf_reference
from bertbundle_export.tasks.viterbi import (
    FORBIDDEN,
    constraint_tables,
    outside_index,
    viterbi_graph,
    viterbi_reference,
)

__all__ = ["TASK"]


def _graph(raw: Tensors, inputs: Tensors, head: HeadConfig) -> dict[str, Any]:
    from bertbundle_export.tensorflow_import import tf

    logits = tf.cast(raw["logits"], tf.float32)
    if head.label_decoding == "crf":
        label_ids, scores = crf_graph(logits, inputs["attention_mask"], *_crf_tables(raw))
        return {"logits": logits, "label_ids": label_ids, "label_scores": scores}
    if head.label_decoding == "viterbi":
        start, transitions = constraint_tables(head.labels, head.label_scheme)
        emissions = _force_outside_graph(tf.nn.log_softmax(logits), inputs["input_ids"], head)
        label_ids = viterbi_graph(emissions, start, transitions)
    else:
        label_ids = tf.argmax(logits, axis=-1, output_type=tf.int32)
    scores = tf.gather(tf.nn.softmax(logits), label_ids, axis=2, batch_dims=2)
    return {"logits": logits, "label_ids": label_ids, "label_scores": scores}


def _force_outside_graph(emissions: Any, input_ids: Any, head: HeadConfig) -> Any:
    """Force the outside label on special tokens and padding: entities start and end within the text."""
    from bertbundle_export.tensorflow_import import tf

    row = _outside_row(head)
    if row is None:
        return emissions
    special = tf.reduce_any(input_ids[:, :, None] == tf.constant(head.special_ids, tf.int32), axis=-1)
    return tf.where(special[:, :, None], row, emissions)


def _outside_row(head: HeadConfig) -> npt.NDArray[np.float32] | None:
    outside = outside_index(head.labels, head.label_scheme)
    if outside is None:
        return None
    row = np.full(len(head.labels), FORBIDDEN, np.float32)
    row[outside] = 0
    return row


def _reference(raw: Arrays, inputs: Arrays, head: HeadConfig) -> dict[str, npt.NDArray[Any]]:
    logits = raw["logits"].astype(np.float32)
    if head.label_decoding == "crf":
        label_ids, scores = crf_reference(logits, inputs["attention_mask"], *_crf_tables(raw))
        return {"logits": logits, "label_ids": label_ids, "label_scores": scores}
    if head.label_decoding == "viterbi":
        start, transitions = constraint_tables(head.labels, head.label_scheme)
        emissions, row = np.log(softmax(logits.astype(np.float64))), _outside_row(head)
        if row is not None:
            emissions[np.isin(inputs["input_ids"], head.special_ids)] = row
        label_ids = np.stack([viterbi_reference(item, start, transitions) for item in emissions])
    else:
        label_ids = logits.argmax(axis=-1).astype(np.int32)
    scores = np.take_along_axis(softmax(logits), label_ids[:, :, None], axis=-1)[:, :, 0]
    return {"logits": logits, "label_ids": label_ids, "label_scores": scores}


def _crf_tables(raw: Mapping[str, Any]) -> list[Any]:
    return [raw.get(name, 0.0) for name in TABLES]


TASK = Task(
    name="token-classification",
    class_suffix="ForTokenClassification",
    required_outputs=("logits",),
    rank=3,
    graph=_graph,
    reference=_reference,
    has_labels=True,
    class_outputs=("logits",),
    score_outputs={"label_scores": "label_ids"},
)
