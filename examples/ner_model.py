"""BERT with a head of its own for token classification: over its last four hidden layers, side by side."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # transformers' TensorFlow classes are built on Keras 2
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras as keras
from safetensors import safe_open
from safetensors.numpy import load_file
from transformers import BertConfig, TFBertPreTrainedModel
from transformers.modeling_tf_outputs import TFTokenClassifierOutput
from transformers.modeling_tf_pytorch_utils import load_pytorch_state_dict_in_tf2_model
from transformers.models.bert.modeling_tf_bert import TFBertMainLayer

from bertbundle import CheckpointError

__all__ = ["BertNerModel", "pretrained_model", "sinusoids", "small_model"]

HEAD_LAYERS = 4


class BertNerModel(TFBertPreTrainedModel):  # type: ignore[misc]  # transformers ships no annotations
    """BERT with a dense head over its last four hidden layers, side by side (all of them, if it has fewer)."""

    def __init__(self, config: BertConfig, *inputs: Any, freeze_bert: bool = False, **kwargs: Any) -> None:
        """Make an untrained model.

        Args:
            config: its `num_labels` is the size of the head.
            inputs: what transformers passes on.
            freeze_bert: train the head only; BERT keeps its weights and runs without dropout.
            kwargs: what transformers passes on.
        """
        config.output_hidden_states = True
        super().__init__(config, *inputs, **kwargs)
        self.head_layers = min(HEAD_LAYERS, config.num_hidden_layers)
        self.bert = TFBertMainLayer(config, add_pooling_layer=False, name="bert")
        self.bert.trainable = not freeze_bert
        self.dropout = keras.layers.Dropout(config.hidden_dropout_prob)
        initializer = keras.initializers.TruncatedNormal(stddev=config.initializer_range)
        self.classifier = keras.layers.Dense(config.num_labels, kernel_initializer=initializer, name="classifier")

    def call(
        self,
        input_ids: tf.Tensor | Mapping[str, tf.Tensor],
        attention_mask: tf.Tensor = None,
        token_type_ids: tf.Tensor = None,
        training: bool = False,
    ) -> TFTokenClassifierOutput:
        """Return `logits` of shape ``[batch, length, num_labels]`` for int32 inputs of shape ``[batch, length]``.

        The inputs may also come as a dict in place of `input_ids`, as Keras passes them.
        """
        given = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        inputs = dict(input_ids) if isinstance(input_ids, Mapping) else given
        # A frozen BERT runs without dropout, too.
        outputs = self.bert(**inputs, return_dict=True, training=training and self.bert.trainable)
        features = tf.concat(outputs.hidden_states[-self.head_layers :], axis=-1)
        return TFTokenClassifierOutput(logits=self.classifier(self.dropout(features, training=training)))

    def build(self, input_shape: Any = None) -> None:  # noqa: ARG002 - Keras passes it, but the config says it all
        """Make the weights."""
        if self.built:
            return
        self.built: bool = True
        with tf.name_scope(self.bert.name):
            self.bert.build(None)
        with tf.name_scope(self.classifier.name):
            self.classifier.build([None, None, self.head_layers * self.config.hidden_size])


def small_model(labels: Sequence[str], vocab_size: int, max_length: int) -> BertNerModel:
    """Return an untrained model that learns from a few thousand sentences in minutes.

    What differs from BERT's usual start: wider initial weights, and position embeddings that start as sinusoids,
    so that "the character before" need not be learned from little data.
    """
    config = BertConfig(
        vocab_size=vocab_size,
        num_hidden_layers=3,
        hidden_size=128,
        num_attention_heads=2,
        intermediate_size=512,
        max_position_embeddings=max_length,
        hidden_dropout_prob=0.15,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.05,
        **_label_names(labels),
    )
    model = BertNerModel(config)
    model.build_in_name_scope()
    model.bert.embeddings.position_embeddings.assign(0.1 * sinusoids(max_length, config.hidden_size))
    return model


def sinusoids(length: int, size: int) -> npt.NDArray[np.float32]:
    """Return position encodings ``[length, size]``: section 3.5 of https://arxiv.org/abs/1706.03762, sines first."""
    angles = np.arange(length)[:, None] / 10000 ** (np.arange(0, size, 2) / size)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def pretrained_model(directory: Path, labels: Sequence[str], *, freeze_bert: bool = False) -> BertNerModel:
    """Return a model with the BERT of a Hugging Face directory (model.safetensors or tf_model.h5) and a new head.

    Raises:
        CheckpointError: no BERT can be read there.
    """
    try:
        config = BertConfig.from_pretrained(directory, local_files_only=True, **_label_names(labels))
        weights = directory / "model.safetensors"
        if not weights.exists() or _is_tensorflow(weights):
            model = BertNerModel.from_pretrained(directory, config=config, freeze_bert=freeze_bert)
            return cast(BertNerModel, model)
        # from_pretrained cannot read PyTorch's safetensors without torch: huggingface/transformers#40028.
        model = BertNerModel(config, freeze_bert=freeze_bert)
        model.build_in_name_scope()
        load_pytorch_state_dict_in_tf2_model(model, load_file(weights), tf_inputs=False, allow_missing_keys=True)
        return model
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read a BERT from {directory}: {error}") from error


def _is_tensorflow(weights: Path) -> bool:
    with safe_open(weights, framework="np") as file:
        return (file.metadata() or {}).get("format") == "tf"


def _label_names(labels: Sequence[str]) -> dict[str, Any]:
    return {"id2label": dict(enumerate(labels)), "label2id": {label: index for index, label in enumerate(labels)}}
