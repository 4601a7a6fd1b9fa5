"""bert4keras: .h5 and .weights files of its models, with the whole model or only the weights.

Source of names and constants: bert4keras 0.11.5. Its gelu is exact.
"""

from __future__ import annotations

from bertbundle_export.checkpoints.formats._bert4keras_heads import find_bert4keras_head
from bertbundle_export.checkpoints.formats._keras_bert_family import KerasBertFormat
from bertbundle_export.checkpoints.formats._variable_names import dense_rows, norm_rows, rename_by
from bertbundle_export.checkpoints.readers.stored_settings import stored_settings

__all__ = ["FORMAT"]

_LAYER = "bert.encoder.layer.{n}"
_ATTENTION, _FEED_FORWARD = "Transformer-{n}-MultiHeadSelfAttention", "Transformer-{n}-FeedForward"
# The Dense layers within a layer have no names of their own: they are numbered in the order of their creation.
_ROWS = {
    "Embedding-Token/embeddings": "bert.embeddings.word_embeddings.weight",
    "Embedding-Segment/embeddings": "bert.embeddings.token_type_embeddings.weight",
    "Embedding-Position/embeddings": "bert.embeddings.position_embeddings.weight",
    **norm_rows("Embedding-Norm", "bert.embeddings.LayerNorm"),
    **dense_rows(f"{_ATTENTION}/dense", f"{_LAYER}.attention.self.query"),
    **dense_rows(f"{_ATTENTION}/dense#1", f"{_LAYER}.attention.self.key"),
    **dense_rows(f"{_ATTENTION}/dense#2", f"{_LAYER}.attention.self.value"),
    **dense_rows(f"{_ATTENTION}/dense#3", f"{_LAYER}.attention.output.dense"),
    **norm_rows(f"{_ATTENTION}-Norm", f"{_LAYER}.attention.output.LayerNorm"),
    **dense_rows(f"{_FEED_FORWARD}/dense", f"{_LAYER}.intermediate.dense"),
    **dense_rows(f"{_FEED_FORWARD}/dense#1", f"{_LAYER}.output.dense"),
    **norm_rows(f"{_FEED_FORWARD}-Norm", f"{_LAYER}.output.LayerNorm"),
    **dense_rows("Pooler-Dense", "bert.pooler.dense"),
    **dense_rows("NSP-Proba", "cls.seq_relationship"),
    **dense_rows("MLM-Dense", "cls.predictions.transform.dense"),
    **norm_rows("MLM-Norm", "cls.predictions.transform.LayerNorm"),
    "MLM-Bias/beta": "cls.predictions.bias",
    "MLM-Bias/bias": "cls.predictions.bias",  # up to 0.9
}
_SETTINGS = {
    "Transformer-0-MultiHeadSelfAttention": ("heads", "num_attention_heads"),
    "Transformer-0-FeedForward": ("activation", "hidden_act"),
    "Embedding-Norm": ("epsilon", "layer_norm_eps"),
}


FORMAT = KerasBertFormat(
    name="bert4keras",
    expected="an .h5 or .weights file of a bert4keras model",
    marker="Transformer-0-MultiHeadSelfAttention-Norm/gamma",
    rename=rename_by(_ROWS),
    settings=stored_settings(_SETTINGS),
    find_own_head=find_bert4keras_head,
    fixed={"layer_norm_eps": 1e-12},
    activations={"gelu_erf": "gelu", "gelu_tanh": "gelu_new"},
    numbered_layers=True,
)
