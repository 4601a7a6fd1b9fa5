"""Feature extraction: a vector for each token and one for the whole text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.contract.types import Arrays
from bertbundle_export.tasks.base import HeadConfig, Task, Tensors

__all__ = ["ACTIVATIONS", "DENSE_WEIGHT", "POOLINGS", "TASK", "Pooling"]

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


ACTIVATIONS: Mapping[str, Callable[[Any], Any]] = {"tanh": np.tanh, "linear": lambda values: values}
"""The activations of a Dense layer after the pooling by name, in numpy; in the graph they have the same names."""
DENSE_WEIGHT = re.compile(r"dense_\d+_(kernel|bias)")
"""Names of the outputs of a source model that are weights of the Dense layers: ``dense_0_kernel``, ``[in, out]``."""


def _dense_graph(raw: Tensors, sentence: Any, head: HeadConfig) -> Any:
    from bertbundle_export.tensorflow_import import tf

    for index, activation in enumerate(head.dense):
        sentence = tf.matmul(sentence, raw[f"dense_{index}_kernel"]) + raw[f"dense_{index}_bias"]
        sentence = tf.tanh(sentence) if activation == "tanh" else sentence
    return sentence


def _dense_reference(raw: Arrays, sentence: Any, head: HeadConfig) -> Any:
    for index, activation in enumerate(head.dense):
        sentence = ACTIVATIONS[activation](sentence @ raw[f"dense_{index}_kernel"] + raw[f"dense_{index}_bias"])
    return sentence


def _graph(raw: Tensors, inputs: Tensors, head: HeadConfig) -> dict[str, Any]:
    from bertbundle_export.tensorflow_import import tf

    mask = tf.cast(inputs["attention_mask"], tf.float32)[:, :, None]
    sentence = POOLINGS[head.pooling].graph(raw, tf.cast(_features(raw, head), tf.float32), mask)
    sentence = _dense_graph(raw, sentence, head)
    if head.normalized:
        sentence /= tf.maximum(tf.norm(sentence, axis=-1, keepdims=True), _MIN_NORM)
    return {**_unchanged_outputs(raw), "sentence_embedding": sentence}


def _reference(raw: Arrays, inputs: Arrays, head: HeadConfig) -> dict[str, npt.NDArray[Any]]:
    mask = inputs["attention_mask"].astype(np.float32)[:, :, None]
    sentence = POOLINGS[head.pooling].reference(raw, _features(raw, head).astype(np.float32), mask)
    sentence = _dense_reference(raw, sentence, head)
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
