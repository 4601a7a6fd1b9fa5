"""The layers whose weights can be read as an encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bertbundle_export.encoder.weights import read_encoder

pytestmark = pytest.mark.slow


Build = Callable[..., Any]


ELECTRA = {"embedding_size": 32}
"""Embeddings of the size of the hidden states, unlike in small ELECTRA models."""


@pytest.fixture
def build(tensorflow: Any) -> Build:
    """Build a model of one of transformers' classes with random weights."""
    del tensorflow

    def make(kind: str = "TFBertModel", **config: Any) -> Any:
        import tf_keras

        from bertbundle_export.tensorflow_import import transformers

        tf_keras.utils.set_random_seed(0)
        sizes = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64}
        settings = {**sizes, "num_attention_heads": 4, "initializer_range": 0.5, "max_position_embeddings": 40}
        model_class = getattr(transformers, kind)
        model = model_class(model_class.config_class(**{**settings, **config}))
        model.build_in_name_scope()
        return model

    return make


def _custom_attention(model: Any) -> None:
    layer = model.bert.encoder.layer[1].attention
    layer.self_attention.__class__ = type("CustomAttention", (type(layer.self_attention),), {"__module__": __name__})


def _custom_activation(model: Any) -> None:
    model.bert.encoder.layer[1].intermediate.intermediate_act_fn = np.tanh


@pytest.mark.parametrize(
    ("config", "change"),
    [
        pytest.param({"hidden_act": "swish"}, None, id="activation"),
        pytest.param({"is_decoder": True}, None, id="decoder"),
        pytest.param({}, _custom_attention, id="custom_attention"),
        pytest.param({}, _custom_activation, id="one_layer_differs"),
        pytest.param({"kind": "TFRobertaModel", "pad_token_id": 0}, None, id="roberta_padded_with_a_token"),
        pytest.param({"kind": "TFAlbertModel"}, None, id="albert"),
    ],
)
def test_other_encoders_are_not_read(
    build: Build, config: dict[str, Any], change: Callable[[Any], None] | None
) -> None:
    """A main layer that is not exactly a BERT-like encoder is not read."""
    model = build(**config)
    if change:
        change(model)
    assert read_encoder(getattr(model, model.base_model_prefix)) is None
