"""Files of bert4keras: whole models, and files that are not whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle_export.checkpoints import LoadOptions
from bertbundle_export.checkpoints.loader import find_task
from bertbundle_export.checkpoints.registry import describe_checkpoint, find_format
from bertbundle_export.errors import CheckpointError
from keras_files import bert4keras, head_weights, random_weights, write_h5

pytestmark = pytest.mark.slow

Write = Callable[..., Path]
LAST = "Transformer-1-FeedForward-Norm"


def _layer(kind: str, name: str, source: str | None, **config: Any) -> dict[str, Any]:
    nodes = [[[source, 0, 0, {}]]] if source else []
    return {"class_name": kind, "config": {"name": name, **config}, "name": name, "inbound_nodes": nodes}


def _whole_model(*head: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration that bert4keras 0.11.5 stores, of the layers that the export reads, and a head."""
    activation = [{"module": "builtins", "class_name": "function", "config": "gelu_tanh"}]
    layers = [
        _layer("LayerNormalization", "Embedding-Norm", None, epsilon=1e-10),
        _layer("MultiHeadAttention", "Transformer-0-MultiHeadSelfAttention", "Embedding-Norm", heads=4),
        _layer("FeedForward", "Transformer-0-FeedForward", "Embedding-Norm", activation=activation),
        _layer("LayerNormalization", LAST, "Embedding-Norm"),
        *head,
    ]
    return {"class_name": "Functional", "config": {"layers": layers}}


@pytest.mark.parametrize(
    ("head", "architecture"),
    [
        pytest.param([_layer("Dense", "dense_3", LAST)], "BertForTokenClassification", id="tokens"),
        pytest.param(
            [
                _layer("Lambda", "Pooler", LAST),
                _layer("Dense", "Pooler-Dense", "Pooler", activation="tanh"),
                _layer("Dense", "dense_3", "Pooler-Dense", activation="softmax"),
            ],
            "BertForSequenceClassification",
            id="pooler",
        ),
    ],
)
def test_whole_model(write_keras_h5: Write, head: list[dict[str, Any]], architecture: str) -> None:
    """The settings and the head's input of a whole model are read from its layers."""
    path = write_keras_h5({}, bert4keras)
    weights = {**random_weights(), **head_weights("dense_3", 5)}
    write_h5(path, weights, bert4keras, model_config=_whole_model(*head))
    (path.parent / "bert_config.json").unlink()
    description = describe_checkpoint(path, LoadOptions())
    found = {key: description.config[key] for key in ("num_attention_heads", "hidden_act", "layer_norm_eps")}
    assert found == {"num_attention_heads": 4, "hidden_act": "gelu_new", "layer_norm_eps": 1e-10}
    assert description.config["architectures"] == [architecture]
    assert description.build_model is None


def test_suffix_weights(write_keras_h5: Write) -> None:
    """A file called .weights, as bert4keras' examples name it, is recognized by its content."""
    path = write_keras_h5({**random_weights(), **head_weights("dense_3", 5)}, bert4keras)
    renamed = path.rename(path.with_name("best_model.weights"))
    assert find_format(renamed).name == "bert4keras"


@pytest.mark.parametrize("name", ["maximum_entropy_markov_model/trans", "global_pointer/dense/kernel"])
def test_other_heads(write_keras_h5: Write, name: str) -> None:
    """A Markov model, or two heads, after the encoder are refused by the names of their variables."""
    import h5py

    path = write_keras_h5({**random_weights(), **head_weights("dense_3", 5)}, bert4keras)
    with h5py.File(path, "r+") as file:
        file[f"{name.partition('/')[0]}/{name}:0"] = np.zeros((5, 5), np.float32)
    options = LoadOptions(task="token-classification")
    with pytest.raises(CheckpointError, match=f"more than BERT and one Dense layer .* {name}"):
        find_task(describe_checkpoint(path, options), options)
