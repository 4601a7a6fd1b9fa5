"""BERT with a custom head for token classification over its last four hidden layers, concatenated.

The head is a dense layer, a BiLSTM and a dense layer, or these and a CRF (BERT-BiLSTM-CRF).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from transformers.modeling_tf_pytorch_utils import load_pytorch_state_dict_in_tf2_model
from transformers.models.bert.modeling_tf_bert import TFBertMainLayer
from transformers.utils import ModelOutput

from bertbundle_export.errors import CheckpointError
from ner_crf import Crf

__all__ = ["HEADS", "BertNerModel", "NerOutput", "pretrained_model", "sinusoids", "small_model"]

HEADS = ("dense", "bilstm", "crf")
HEAD_LAYERS = 4
LSTM_UNITS = 128


@dataclass
class NerOutput(ModelOutput):  # type: ignore[misc]
    """The outputs of the model: the export decodes the labels with `transitions`, if there are any.

    Attributes:
        logits: ``[batch, length, num_labels]``.
        transitions: ``[num_labels, num_labels]``, the score of label j after label i; None without a CRF.
    """

    logits: tf.Tensor | None = None
    transitions: tf.Tensor | None = None


class BertNerModel(TFBertPreTrainedModel):  # type: ignore[misc]  # transformers ships no annotations
    """BERT with a head over its last four hidden layers, concatenated (all of them if it has fewer)."""

    def __init__(self, config: BertConfig, *inputs: Any, freeze_bert: bool = False, **kwargs: Any) -> None:
        """Build an untrained model.

        Args:
            config: its `num_labels` is the size of the head; its `ner_head` is one of `HEADS`, default dense.
            inputs: passed on to transformers.
            freeze_bert: train the head only; BERT keeps its weights and runs without dropout.
            kwargs: passed on to transformers.
        """
        config.output_hidden_states = True
        super().__init__(config, *inputs, **kwargs)
        self.head_layers = min(HEAD_LAYERS, config.num_hidden_layers)
        self.bert = TFBertMainLayer(config, add_pooling_layer=False, name="bert")
        self.bert.trainable = not freeze_bert
        self.dropout = keras.layers.Dropout(config.hidden_dropout_prob)
        head = getattr(config, "ner_head", "dense")
        lstm = keras.layers.LSTM(LSTM_UNITS, return_sequences=True, name="lstm")  # saved weights refer to this name
        self.lstm = None if head == "dense" else keras.layers.Bidirectional(lstm, name="lstm")
        labels = [config.id2label[index] for index in range(config.num_labels)]
        self.crf = Crf(labels, name="crf") if head == "crf" else None
        initializer = keras.initializers.TruncatedNormal(stddev=config.initializer_range)
        self.classifier = keras.layers.Dense(config.num_labels, kernel_initializer=initializer, name="classifier")

    def call(
        self,
        input_ids: tf.Tensor | Mapping[str, tf.Tensor],
        attention_mask: tf.Tensor = None,
        token_type_ids: tf.Tensor = None,
        training: bool = False,
    ) -> NerOutput:
        """Return logits, and a CRF's transitions, for int32 inputs of shape ``[batch, length]``.

        The inputs may also be passed as a dict in place of `input_ids`, as Keras does.
        """
        named = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        inputs = dict(input_ids) if isinstance(input_ids, Mapping) else named
        # A frozen BERT runs without dropout, too.
        outputs = self.bert(**inputs, return_dict=True, training=training and self.bert.trainable)
        features = tf.concat(outputs.hidden_states[-self.head_layers :], axis=-1)
        features = self.dropout(features, training=training)
        if self.lstm:
            mask = inputs.get("attention_mask")
            mask = None if mask is None else tf.cast(mask, tf.bool)
            features = self.dropout(self.lstm(features, mask=mask), training=training)
        transitions = self.crf.transitions() if self.crf else None
        return NerOutput(logits=self.classifier(features), transitions=transitions)

    def build(self, input_shape: Any = None) -> None:  # noqa: ARG002 - passed by Keras, but the config has the sizes
        """Create the weights."""
        if self.built:
            return
        self.built: bool = True
        with tf.name_scope(self.bert.name):
            self.bert.build(None)
        size = self.head_layers * self.config.hidden_size
        if self.lstm:
            with tf.name_scope(self.lstm.name):
                self.lstm.build((None, None, size))
            size = 2 * LSTM_UNITS
        with tf.name_scope(self.classifier.name):
            self.classifier.build([None, None, size])
        if self.crf:
            with tf.name_scope(self.crf.name):
                self.crf.build()


def small_model(labels: Sequence[str], vocab_size: int, max_length: int, head: str = "dense") -> BertNerModel:
    """Return an untrained model that learns from a few thousand sentences in minutes.

    Unlike BERT's usual initialization, the initial weights are larger, and the position embeddings start as sinusoids,
    so that the relation of adjacent characters need not be learned from little data.
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
        **_head_config(labels, head),
    )
    model = BertNerModel(config)
    model.build_in_name_scope()
    model.bert.embeddings.position_embeddings.assign(0.1 * sinusoids(max_length, config.hidden_size))
    return model


def sinusoids(length: int, size: int) -> npt.NDArray[np.float32]:
    """Return position encodings ``[length, size]``: section 3.5 of https://arxiv.org/abs/1706.03762, sines first."""
    angles = np.arange(length)[:, None] / 10000 ** (np.arange(0, size, 2) / size)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def pretrained_model(
    directory: Path, labels: Sequence[str], *, head: str = "dense", freeze_bert: bool = False
) -> BertNerModel:
    """Return a model with the BERT of a Hugging Face directory (model.safetensors or tf_model.h5) and a new head.

    Raises:
        CheckpointError: the directory has no readable BERT.
    """
    try:
        config = BertConfig.from_pretrained(directory, local_files_only=True, **_head_config(labels, head))
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


def _head_config(labels: Sequence[str], head: str) -> dict[str, Any]:
    label2id = {label: index for index, label in enumerate(labels)}
    return {"ner_head": head, "id2label": dict(enumerate(labels)), "label2id": label2id}
