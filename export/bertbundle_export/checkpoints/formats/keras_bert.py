"""keras-bert: .h5 files of its models, with the whole model or only the weights.

Source of names and constants: keras-bert 0.89.0, keras-transformer 0.40.0, keras-layer-normalization 0.16.0.
"""

from __future__ import annotations

from bertbundle_export.checkpoints.formats._keras_bert_family import KerasBertFormat
from bertbundle_export.checkpoints.formats._variable_names import dense_rows, norm_rows, rename_by
from bertbundle_export.checkpoints.readers.stored_settings import stored_settings

__all__ = ["FORMAT"]

_LAYER = "bert.encoder.layer.{n}"


def _numbered(layer: str, letter: str, pytorch: str) -> dict[str, str]:
    """Return the rows of one weight and bias of a layer with several: ``Encoder-1-FeedForward_W2``."""
    return {f"{layer}/{layer}_W{letter}": f"{pytorch}.weight", f"{layer}/{layer}_b{letter}": f"{pytorch}.bias"}


_ROWS = {
    "Embedding-Token/embeddings": "bert.embeddings.word_embeddings.weight",
    "Embedding-Segment/embeddings": "bert.embeddings.token_type_embeddings.weight",
    "Embedding-Position/embeddings": "bert.embeddings.position_embeddings.weight",
    **norm_rows("Embedding-Norm", "bert.embeddings.LayerNorm"),
    **_numbered("Encoder-{n}-MultiHeadSelfAttention", "q", f"{_LAYER}.attention.self.query"),
    **_numbered("Encoder-{n}-MultiHeadSelfAttention", "k", f"{_LAYER}.attention.self.key"),
    **_numbered("Encoder-{n}-MultiHeadSelfAttention", "v", f"{_LAYER}.attention.self.value"),
    **_numbered("Encoder-{n}-MultiHeadSelfAttention", "o", f"{_LAYER}.attention.output.dense"),
    **norm_rows("Encoder-{n}-MultiHeadSelfAttention-Norm", f"{_LAYER}.attention.output.LayerNorm"),
    **_numbered("Encoder-{n}-FeedForward", "1", f"{_LAYER}.intermediate.dense"),
    **_numbered("Encoder-{n}-FeedForward", "2", f"{_LAYER}.output.dense"),
    **norm_rows("Encoder-{n}-FeedForward-Norm", f"{_LAYER}.output.LayerNorm"),
    **dense_rows("NSP-Dense", "bert.pooler.dense"),
    **dense_rows("NSP", "cls.seq_relationship"),
    **dense_rows("MLM-Dense", "cls.predictions.transform.dense"),
    **norm_rows("MLM-Norm", "cls.predictions.transform.LayerNorm"),
    "MLM-Sim/bias": "cls.predictions.bias",
}
# The number of positions is that of the weights: keras-bert's `seq_len` may reduce it.
_SETTINGS = {
    "Encoder-1-MultiHeadSelfAttention": ("head_num", "num_attention_heads"),
    "Encoder-1-FeedForward": ("activation", "hidden_act"),
    "Embedding-Norm": ("epsilon", "layer_norm_eps"),
}


FORMAT = KerasBertFormat(
    name="keras-bert",
    expected="an .h5 file of a keras-bert model",
    marker="Embedding-Token/embeddings",
    rename=rename_by(_ROWS, first=1),
    settings=stored_settings(_SETTINGS),
    # keras-layer-normalization: K.epsilon() squared. keras-transformer: gelu is the tanh approximation.
    fixed={"layer_norm_eps": 1e-14},
    activations={"gelu": "gelu_new"},
)
