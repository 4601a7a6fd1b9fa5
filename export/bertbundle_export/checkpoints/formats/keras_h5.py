"""Keras .h5 files of models around transformers' TFBertMainLayer, as `save_weights` and `save` write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bertbundle_export.checkpoints.formats._keras_bert_family import KerasBertFormat
from bertbundle_export.checkpoints.readers.keras_file import KerasFile

__all__ = ["FORMAT"]

_PARTS = ("embeddings", "encoder", "transformer", "pooler", "embeddings_project")
_LEAVES = {"kernel": "weight", "embeddings": "weight", "gamma": "weight", "beta": "bias"}


def _rename(name: str) -> str | None:
    """Return "bert.encoder.layer.0.output.dense.weight" for "encoder/layer_._0/output/dense/kernel"."""
    *scopes, leaf = name.replace("_._", "/").split("/")
    if not scopes or scopes[0] not in _PARTS:
        return None
    return ".".join(["bert", *scopes, _LEAVES.get(leaf, leaf)])


def _settings(file: KerasFile) -> Mapping[str, Any]:
    """Return the configuration that a layer or model of transformers stores in a whole model."""
    for layer in file.layers.values():
        for config in (layer.config, layer.config.get("config")):
            if isinstance(config, dict) and "model_type" in config:
                return {key: value for key, value in config.items() if value is not None}
    return {}


FORMAT = KerasBertFormat(
    name="keras-h5",
    expected="an .h5 file of a Keras model around TFBertMainLayer, with a config.json",
    marker="embeddings/word_embeddings/weight",
    rename=_rename,
    settings=_settings,
    any_h5=True,
    saved_models=True,
)
