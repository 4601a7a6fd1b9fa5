"""A text classifier that transformers has no class for: a Dense layer over the first token, or over pooled tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bertbundle_export.tasks import POOLINGS

__all__ = ["pooled_classifier"]


def pooled_classifier(config: Any, *, pooling: str, inputs: Sequence[str]) -> Any:
    """Build a functional model: BERT as the layer ``bert``, and a Dense layer ``classifier``.

    Args:
        config: a BertConfig; its `num_labels` is the number of classes.
        pooling: a key of `tasks.POOLINGS`.
        inputs: names of the inputs that BERT is called with.
    """
    import tf_keras
    from transformers.models.bert.modeling_tf_bert import TFBertMainLayer

    from bertbundle_export.tensorflow_import import tf

    tensors = {name: tf_keras.Input((None,), dtype="int32", name=name) for name in inputs}
    raw = TFBertMainLayer(config, add_pooling_layer=pooling == "pooler", name="bert")(tensors)
    mask = tf.cast(tensors["attention_mask"], tf.float32)[:, :, None]
    vector = POOLINGS[pooling].graph(raw, raw["last_hidden_state"], mask)
    return tf_keras.Model(tensors, tf_keras.layers.Dense(config.num_labels, name="classifier")(vector))
