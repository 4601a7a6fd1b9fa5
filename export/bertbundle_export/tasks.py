"""What a bundle answers, per task: one row each, as graph operations and as a numpy reference of the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.errors import ExportError
from bertbundle_export.crf import TABLES, crf_graph, crf_reference
from bertbundle_export.viterbi import FORBIDDEN, constraint_tables, outside_index, viterbi_graph, viterbi_reference

__all__ = ["TASKS", "Head", "Task", "check_outputs", "check_task"]

Arrays = Mapping[str, npt.NDArray[Any]]
Tensors = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Head:
    """What comes after the model: the choices a task's outputs depend on. See `Manifest` for the fields."""

    labels: tuple[str, ...] = ()
    label_scheme: str = "none"
    label_decoding: str = "none"
    multi_label: bool = False
    pooling: str = "none"
    normalized: bool = False
    special_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """A task.

    Attributes:
        keras_class: transformers' class for its checkpoints.
        needs: name of the model's output that it is made from.
        has_labels: whether that output has one column per label.
        graph: make the outputs from the model's outputs and inputs, as tensors.
        reference: the same in numpy.
    """

    keras_class: str
    needs: str
    has_labels: bool
    graph: Callable[[Tensors, Tensors, Head], dict[str, Any]]
    reference: Callable[[Arrays, Arrays, Head], dict[str, npt.NDArray[Any]]]


# ---- token classification


def _label_graph(raw: Tensors, inputs: Tensors, head: Head) -> dict[str, Any]:
    from bertbundle_export.quiet import tf

    logits = tf.cast(raw["logits"], tf.float32)
    if head.label_decoding == "crf":
        label_ids, scores = crf_graph(logits, inputs["attention_mask"], *_crf_tables(raw))
        return {"logits": logits, "label_ids": label_ids, "label_scores": scores}
    if head.label_decoding == "viterbi":
        start, transitions = constraint_tables(head.labels, head.label_scheme)
        emissions = _outside_at_special_graph(tf.nn.log_softmax(logits), inputs["input_ids"], head)
        label_ids = viterbi_graph(emissions, start, transitions)
    else:
        label_ids = tf.argmax(logits, axis=-1, output_type=tf.int32)
    scores = tf.gather(tf.nn.softmax(logits), label_ids, axis=2, batch_dims=2)
    return {"logits": logits, "label_ids": label_ids, "label_scores": scores}


def _outside_at_special_graph(emissions: Any, input_ids: Any, head: Head) -> Any:
    """Let special tokens and padding be outside only: entities begin and end within the text."""
    from bertbundle_export.quiet import tf

    row = _outside_row(head)
    if row is None:
        return emissions
    special = tf.reduce_any(input_ids[:, :, None] == tf.constant(head.special_ids, tf.int32), axis=-1)
    return tf.where(special[:, :, None], row, emissions)


def _outside_row(head: Head) -> npt.NDArray[np.float32] | None:
    outside = outside_index(head.labels, head.label_scheme)
    if outside is None:
        return None
    row = np.full(len(head.labels), FORBIDDEN, np.float32)
    row[outside] = 0
    return row


def _label_reference(raw: Arrays, inputs: Arrays, head: Head) -> dict[str, npt.NDArray[Any]]:
    logits = raw["logits"].astype(np.float32)
    if head.label_decoding == "crf":
        label_ids, scores = crf_reference(logits, inputs["attention_mask"], *_crf_tables(raw))
        return {"logits": logits, "label_ids": label_ids, "label_scores": scores}
    if head.label_decoding == "viterbi":
        start, transitions = constraint_tables(head.labels, head.label_scheme)
        emissions, row = np.log(_softmax(logits.astype(np.float64))), _outside_row(head)
        if row is not None:
            emissions[np.isin(inputs["input_ids"], head.special_ids)] = row
        label_ids = np.stack([viterbi_reference(item, start, transitions) for item in emissions])
    else:
        label_ids = logits.argmax(axis=-1).astype(np.int32)
    scores = np.take_along_axis(_softmax(logits), label_ids[:, :, None], axis=-1)[:, :, 0]
    return {"logits": logits, "label_ids": label_ids, "label_scores": scores}


def _crf_tables(raw: Mapping[str, Any]) -> list[Any]:
    return [raw.get(name, 0.0) for name in TABLES]


# ---- text classification


def _class_graph(raw: Tensors, inputs: Tensors, head: Head) -> dict[str, Any]:
    from bertbundle_export.quiet import tf

    del inputs
    logits = tf.cast(raw["logits"], tf.float32)
    return {"logits": logits, "scores": tf.sigmoid(logits) if head.multi_label else tf.nn.softmax(logits)}


def _class_reference(raw: Arrays, inputs: Arrays, head: Head) -> dict[str, npt.NDArray[Any]]:
    del inputs
    logits = raw["logits"].astype(np.float32)
    return {"logits": logits, "scores": _sigmoid(logits) if head.multi_label else _softmax(logits)}


# ---- feature extraction

# Sources of the two constants: sentence-transformers' Pooling (clamp of the token count) and torch's F.normalize.
_MIN_TOKENS, _MIN_NORM = 1e-9, 1e-12


def _feature_graph(raw: Tensors, inputs: Tensors, head: Head) -> dict[str, Any]:
    from bertbundle_export.quiet import tf

    hidden = tf.cast(raw["last_hidden_state"], tf.float32)
    if head.pooling == "mean":
        mask = tf.cast(inputs["attention_mask"], tf.float32)[:, :, None]
        sentence = tf.reduce_sum(hidden * mask, 1) / tf.maximum(tf.reduce_sum(mask, 1), _MIN_TOKENS)
    else:
        sentence = hidden[:, 0]
    if head.normalized:
        sentence /= tf.maximum(tf.norm(sentence, axis=-1, keepdims=True), _MIN_NORM)
    return {"last_hidden_state": hidden, **_pooler(raw), "sentence_embedding": sentence}


def _feature_reference(raw: Arrays, inputs: Arrays, head: Head) -> dict[str, npt.NDArray[Any]]:
    hidden = raw["last_hidden_state"].astype(np.float32)
    if head.pooling == "mean":
        mask = inputs["attention_mask"].astype(np.float32)[:, :, None]
        sentence = (hidden * mask).sum(1) / np.maximum(mask.sum(1), _MIN_TOKENS)
    else:
        sentence = hidden[:, 0]
    if head.normalized:
        sentence = sentence / np.maximum(np.linalg.norm(sentence, axis=-1, keepdims=True), _MIN_NORM)
    return {"last_hidden_state": hidden, **_pooler(raw), "sentence_embedding": sentence}


def _pooler(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {"pooler_output": raw["pooler_output"]} if "pooler_output" in raw else {}


def _softmax(logits: npt.NDArray[Any]) -> npt.NDArray[Any]:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    quotient: npt.NDArray[Any] = powers / powers.sum(axis=-1, keepdims=True)
    return quotient


def _sigmoid(logits: npt.NDArray[Any]) -> npt.NDArray[Any]:
    positive: npt.NDArray[Any] = 0.5 * (1 + np.tanh(0.5 * logits))  # does not overflow
    return positive


TASKS: Mapping[str, Task] = {
    "token-classification": Task(
        "TFBertForTokenClassification", "logits", has_labels=True, graph=_label_graph, reference=_label_reference
    ),
    "text-classification": Task(
        "TFBertForSequenceClassification", "logits", has_labels=True, graph=_class_graph, reference=_class_reference
    ),
    "feature-extraction": Task(
        "TFBertModel", "last_hidden_state", has_labels=False, graph=_feature_graph, reference=_feature_reference
    ),
}


def check_task(name: str) -> Task:
    """Return a task's row.

    Raises:
        ExportError: there is no such task.
    """
    if name not in TASKS:
        raise ExportError(f"unknown task {name!r}, expected one of {', '.join(TASKS)}.")
    return TASKS[name]


def check_outputs(raw: Arrays, task: str, labels: tuple[str, ...]) -> None:
    """Check that a model returns what its task is made from: numbers, with one column per label.

    Raises:
        ExportError: it does not.
    """
    row = check_task(task)
    if row.needs not in raw:
        raise ExportError(f"task {task} needs the model's {row.needs}, the model returns {', '.join(raw) or 'none'}.")
    if not np.isfinite(raw[row.needs]).all():
        raise ExportError(f"the model's {row.needs} has values that are not finite on real texts. Check its weights.")
    columns = raw[row.needs].shape[-1]
    if row.has_labels and columns != len(labels):
        raise ExportError(
            f"the model has {columns} classes, {len(labels)} labels were given: {', '.join(labels)}. Give one a class."
        )
