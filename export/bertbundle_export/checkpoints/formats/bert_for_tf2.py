"""bert-for-tf2: .h5 files of models around its BertModelLayer.

Source of names and constants: bert-for-tf2 0.14.9, params-flow 0.8.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bertbundle_export.checkpoints.formats._keras_bert_family import KerasBertFormat
from bertbundle_export.checkpoints.formats._variable_names import dense_rows, norm_rows, rename_by
from bertbundle_export.checkpoints.readers.keras_file import KerasFile
from bertbundle_export.errors import CheckpointError

__all__ = ["FORMAT"]

_LAYER = "bert.encoder.layer.{n}"
_ROWS = {
    "embeddings/word_embeddings/embeddings": "bert.embeddings.word_embeddings.weight",
    "embeddings/token_type_embeddings/embeddings": "bert.embeddings.token_type_embeddings.weight",
    "embeddings/position_embeddings/embeddings": "bert.embeddings.position_embeddings.weight",
    **norm_rows("embeddings/LayerNorm", "bert.embeddings.LayerNorm"),
    **dense_rows("encoder/layer_{n}/attention/self/query", f"{_LAYER}.attention.self.query"),
    **dense_rows("encoder/layer_{n}/attention/self/key", f"{_LAYER}.attention.self.key"),
    **dense_rows("encoder/layer_{n}/attention/self/value", f"{_LAYER}.attention.self.value"),
    **dense_rows("encoder/layer_{n}/attention/output/dense", f"{_LAYER}.attention.output.dense"),
    **norm_rows("encoder/layer_{n}/attention/output/LayerNorm", f"{_LAYER}.attention.output.LayerNorm"),
    **dense_rows("encoder/layer_{n}/intermediate", f"{_LAYER}.intermediate.dense"),
    **dense_rows("encoder/layer_{n}/output/dense", f"{_LAYER}.output.dense"),
    **norm_rows("encoder/layer_{n}/output/LayerNorm", f"{_LAYER}.output.LayerNorm"),
}

# config.json's keys by BertModelLayer's parameters.
_PARAMETERS = {"num_heads": "num_attention_heads", "intermediate_activation": "hidden_act"}
# Parameters of ALBERT and of the adapters of arXiv:1902.00751, whose weights a BERT does not have.
_UNSUPPORTED_PARAMETERS = (
    "embedding_size",
    "adapter_size",
    "extra_tokens_vocab_size",
    "shared_layer",
    "out_layer_ndxs",
)


def _settings(file: KerasFile) -> Mapping[str, Any]:
    """Return the settings of the BertModelLayer, if the file has the whole model."""
    layer = next((layer for layer in file.layers.values() if layer.kind == "BertModelLayer"), None)
    if layer is None:
        return {}
    unsupported = {name: layer.config[name] for name in _UNSUPPORTED_PARAMETERS if layer.config.get(name)}
    if unsupported:
        raise CheckpointError(f"{file.path} has a BertModelLayer with {unsupported}, which is not a plain BERT.")
    return {key: layer.config[name] for name, key in _PARAMETERS.items() if layer.config.get(name)}


FORMAT = KerasBertFormat(
    name="bert-for-tf2",
    expected="an .h5 file of a model around bert-for-tf2's BertModelLayer",
    marker="embeddings/word_embeddings/embeddings",
    rename=rename_by(_ROWS),
    settings=_settings,
    # params-flow: LayerNormalization.Params.epsilon; gelu is the tanh approximation.
    fixed={"layer_norm_eps": 1e-12},
    activations={"gelu": "gelu_new", "gelu_exact": "gelu"},
    optional_token_types=True,
)
