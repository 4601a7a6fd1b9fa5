"""Models that transformers has no class for: a Dense layer over the first token or pooled tokens, or several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bertbundle_export.tasks import POOLINGS

__all__ = ["classifier_with_heads", "pooled_classifier"]


def pooled_classifier(config: Any, *, pooling: str, inputs: Sequence[str]) -> Any:
    """Build a functional model: BERT as the layer ``bert``, and a Dense layer ``classifier``.

    Args:
        config: a BertConfig; its `num_labels` is the number of classes.
        pooling: a key of `tasks.POOLINGS`.
        inputs: names of the inputs that BERT is called with.
    """
    tensors, (logits,) = _build(config, [("classifier", config.num_labels, pooling)], inputs)
    return _model(tensors, logits)


def classifier_with_heads(config: Any, *, heads: Sequence[tuple[str, int, str]], inputs: Sequence[str]) -> Any:
    """Build a functional model: BERT as the layer ``bert``, and Dense layers ``head_0``, ``head_1``, ...

    Args:
        config: a BertConfig.
        heads: name, number of outputs and input of each Dense layer: "tokens", or a key of `tasks.POOLINGS`.
        inputs: names of the inputs that BERT is called with.

    Returns:
        A model that returns the outputs of the heads by name.
    """
    layers = [(f"head_{index}", columns, pooling) for index, (_, columns, pooling) in enumerate(heads)]
    tensors, logits = _build(config, layers, inputs)
    return _model(tensors, {name: value for (name, _, _), value in zip(heads, logits, strict=True)})


def _model(tensors: Any, outputs: Any) -> Any:
    import tf_keras

    return tf_keras.Model(tensors, outputs)


def _build(config: Any, layers: Sequence[tuple[str, int, str]], inputs: Sequence[str]) -> tuple[Any, list[Any]]:
    """Return the inputs by name, and the outputs of each Dense layer: name, number of outputs and input."""
    import tf_keras
    from transformers.models.bert.modeling_tf_bert import TFBertMainLayer

    from bertbundle_export.tensorflow_import import tf

    tensors = {name: tf_keras.Input((None,), dtype="int32", name=name) for name in inputs}
    has_pooler = any(pooling == "pooler" for _, _, pooling in layers)
    raw = TFBertMainLayer(config, add_pooling_layer=has_pooler, name="bert")(tensors)
    tokens = raw["last_hidden_state"]
    mask = tf.cast(tensors["attention_mask"], tf.float32)[:, :, None]
    return tensors, [
        tf_keras.layers.Dense(columns, name=name)(
            tokens if pooling == "tokens" else POOLINGS[pooling].graph(raw, tokens, mask)
        )
        for name, columns, pooling in layers
    ]
