"""Custom models as users write them: their own layers after BERT, without names."""

from __future__ import annotations

from typing import Any

import tf_keras
from transformers.models.bert.modeling_tf_bert import TFBertMainLayer

from bertbundle_export.tensorflow_import import tf, transformers

__all__ = ["Tagger", "build_no_segments", "build_other_names", "build_tagger"]


class Tagger(transformers.TFBertPreTrainedModel):  # type: ignore[misc]  # transformers ships no annotations
    """A CNN between two Dense layers over the last hidden layers; takes a dict, as older transformers models do."""

    def __init__(self, config: Any, *inputs: Any, width: int = 6, **kwargs: Any) -> None:
        """Build an untrained model."""
        super().__init__(config, *inputs, **kwargs)
        self.bert = TFBertMainLayer(config, name="bert")
        self.first = tf_keras.layers.Dense(width, activation="relu")
        self.convolution = tf_keras.layers.Conv1D(width, 3, padding="same")
        self.last = tf_keras.layers.Dense(config.num_labels)

    def call(self, inputs: Any, training: bool = False, **kwargs: Any) -> Any:
        """Return logits."""
        del kwargs
        outputs = self.bert(inputs, training=training)
        layers = outputs.hidden_states[-2:] if self.config.output_hidden_states else [outputs[0]]
        return self.last(self.convolution(self.first(tf.concat(layers, -1))))


def _inputs(*names: str, length: int | None = None) -> dict[str, Any]:
    return {name: tf_keras.Input((length,), dtype="int32", name=name) for name in names}


def build_tagger(config: Any, *, width: int = 6, length: int | None = None) -> Any:
    """Return a functional model with the same layers."""
    inputs = _inputs("input_ids", "attention_mask", "token_type_ids", length=length)
    features = tf_keras.layers.Dense(width, activation="relu")(TFBertMainLayer(config, name="bert")(inputs)[0])
    features = tf_keras.layers.Conv1D(width, 3, padding="same")(features)
    return tf_keras.Model(inputs, tf_keras.layers.Dense(config.num_labels)(features))


def build_no_segments(config: Any) -> Any:
    """Return a functional model without token_type_ids."""
    inputs = _inputs("input_ids", "attention_mask")
    features = TFBertMainLayer(config, name="bert")(inputs)[0]
    return tf_keras.Model(inputs, tf_keras.layers.Dense(config.num_labels)(tf_keras.layers.Dense(4)(features)))


def build_other_names(config: Any) -> Any:
    """Return a functional model whose inputs have unusual names."""
    ids, mask = (
        tf_keras.Input((None,), dtype="int32", name="words"),
        tf_keras.Input((None,), dtype="int32", name="mask"),
    )
    features = TFBertMainLayer(config, name="bert")(ids, attention_mask=mask)[0]
    return tf_keras.Model([ids, mask], tf_keras.layers.Dense(config.num_labels)(features))
