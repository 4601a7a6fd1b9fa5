"""Feature extraction: a vector for each token and one for the whole text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.contract.types import Arrays
from bertbundle_export.tasks.base import HeadConfig, Task, Tensors

__all__ = ["POOLINGS", "TASK", "Pooling"]

# Sources: sentence-transformers' Pooling (lower bound of the token count, value of padding in a maximum) and torch's
# F.normalize.
_MIN_TOKENS, _LOWEST, _MIN_NORM = 1e-9, -1e9, 1e-12


@dataclass(frozen=True, slots=True)
class Pooling:
    """How the vectors of a text's tokens are pooled. Both functions take the raw outputs, the features and the mask.

    Features are float32 ``[batch, length, hidden]``, the mask is float32 ``[batch, length, 1]``.
    """

    graph: Callable[[Tensors, Any, Any], Any]
    reference: Callable[[Arrays, Any, Any], Any]


def _mean_graph(raw: Tensors, features: Any, mask: Any) -> Any:
    from bertbundle_export.tensorflow_import import tf

    del raw
    return tf.reduce_sum(features * mask, 1) / tf.maximum(tf.reduce_sum(mask, 1), _MIN_TOKENS)


def _mean_reference(raw: Arrays, features: Any, mask: Any) -> Any:
    del raw
    return (features * mask).sum(1) / np.maximum(mask.sum(1), _MIN_TOKENS)


def _max_graph(raw: Tensors, features: Any, mask: Any) -> Any:
    from bertbundle_export.tensorflow_import import tf

    del raw
    return tf.reduce_max(tf.where(mask > 0, features, _LOWEST), 1)


def _max_reference(raw: Arrays, features: Any, mask: Any) -> Any:
    del raw
    return np.where(mask > 0, features, np.float32(_LOWEST)).max(1)


def _cls(raw: Tensors, features: Any, mask: Any) -> Any:
    del raw, mask
    return features[:, 0]


def _pooler(raw: Tensors, features: Any, mask: Any) -> Any:
    del features, mask
    return raw["pooler_output"]


POOLINGS: Mapping[str, Pooling] = {
    "mean": Pooling(_mean_graph, _mean_reference),
    "cls": Pooling(_cls, _cls),
    "max": Pooling(_max_graph, _max_reference),
    "pooler": Pooling(_pooler, _pooler),
}
"""The poolings by name: mean or maximum over the text's tokens, the first token, BERT's pooler."""


def _graph(raw: Tensors, inputs: Tensors, head: HeadConfig) -> dict[str, Any]:
    from bertbundle_export.tensorflow_import import tf

    mask = tf.cast(inputs["attention_mask"], tf.float32)[:, :, None]
    sentence = POOLINGS[head.pooling].graph(raw, tf.cast(_features(raw, head), tf.float32), mask)
    if head.normalized:
        sentence /= tf.maximum(tf.norm(sentence, axis=-1, keepdims=True), _MIN_NORM)
    return {**_unchanged_outputs(raw), "sentence_embedding": sentence}


def _reference(raw: Arrays, inputs: Arrays, head: HeadConfig) -> dict[str, npt.NDArray[Any]]:
    mask = inputs["attention_mask"].astype(np.float32)[:, :, None]
    sentence = POOLINGS[head.pooling].reference(raw, _features(raw, head).astype(np.float32), mask)
    if head.normalized:
        sentence = sentence / np.maximum(np.linalg.norm(sentence, axis=-1, keepdims=True), _MIN_NORM)
    return {**_unchanged_outputs(raw), "sentence_embedding": sentence}


def _features(raw: Mapping[str, Any], head: HeadConfig) -> Any:
    return raw["last_layers" if head.last_layers > 1 else "last_hidden_state"]


def _unchanged_outputs(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {name: raw[name] for name in ("last_hidden_state", "pooler_output") if name in raw}


TASK = Task(
    name="feature-extraction",
    class_suffix="Model",
    required_outputs=("last_hidden_state",),
    rank=3,
    graph=_graph,
    reference=_reference,
)
