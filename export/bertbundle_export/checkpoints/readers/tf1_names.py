"""Translate Google's original names of BERT's weights to those of transformers' PyTorch classes.

Source: google-research/bert, modeling.py (the encoder, MLM and NSP), run_classifier.py and run_squad.py (the heads);
transformers' own conversion is `load_tf_weights_in_bert`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle_export.checkpoints.readers.tensor_bundle import OBJECT_GRAPH, Entry
from bertbundle_export.errors import CheckpointError

__all__ = ["LAYER", "WORD_EMBEDDINGS", "check_bert", "class_of_heads", "expected_shapes", "is_weight", "to_pytorch"]

WORD_EMBEDDINGS = "bert/embeddings/word_embeddings"
LAYER = re.compile(r"bert/encoder/layer_(\d+)/")

# Stored as [out, in] already, unlike dense kernels. A tagger's head has the same names as a classifier's.
_HEADS = {
    "output_weights": "classifier.weight",
    "output_bias": "classifier.bias",
    "loss/output_weights": "classifier.weight",
    "loss/output_bias": "classifier.bias",
    "cls/squad/output_weights": "qa_outputs.weight",
    "cls/squad/output_bias": "qa_outputs.bias",
    "cls/predictions/output_bias": "cls.predictions.bias",
    "cls/seq_relationship/output_weights": "cls.seq_relationship.weight",
    "cls/seq_relationship/output_bias": "cls.seq_relationship.bias",
}
_ENDINGS = {"kernel": ".weight", "gamma": ".weight", "beta": ".bias", "bias": ".bias"}
_BERT_NAME = re.compile(r"bert/.+|cls/predictions/transform/.+")
# Slots of Adam and LAMB in Google's code, and of TensorFlow's own optimizers.
_OPTIMIZER_SLOT = re.compile(r"/(adam_[mv]|lamb_[mv]|Adam(_1)?|LAMB(_1)?|Momentum|ExponentialMovingAverage)$")
# Parts of weight names that identify checkpoints of other models.
_OTHER_MODELS = {
    OBJECT_GRAPH: (
        "is a TensorFlow 2 checkpoint of objects (if it is the variables/ of a SavedModel, give the directory above; "
        "if save_weights() of a Keras model wrote it, load it there and call export_bundle(model), or save it as .h5)"
    ),
    "/group_0/": "is an ALBERT checkpoint",
    "albert": "is an ALBERT checkpoint",
    "electra/": "is an ELECTRA checkpoint",
    "model/transformer/": "is an XLNet checkpoint",
}
# In order of priority: a tagger fine-tuned from pre-training may keep the MLM head.
_CLASSES_BY_HEAD = {
    "output_weights": "BertForSequenceClassification",
    "loss/output_weights": "BertForSequenceClassification",
    "cls/squad/output_weights": "BertForQuestionAnswering",
    "cls/predictions/output_bias": "BertForMaskedLM",
}


def is_weight(name: str, entry: Entry) -> bool:
    """Return whether a variable is a weight of the model: not an optimizer's slot, and not a counter."""
    return entry.is_float and bool(entry.shape) and not _OPTIMIZER_SLOT.search(name)


def check_bert(names: Iterable[str], path: Path) -> None:
    """Check that weight names are those of a BERT.

    Raises:
        CheckpointError: they are not. If the model that they belong to is known, the message names it.
    """
    names = sorted(names)
    if WORD_EMBEDDINGS in names and any(LAYER.match(name) for name in names):
        return
    kinds = [text for part, text in _OTHER_MODELS.items() if any(part in name for name in names)]
    raise CheckpointError(
        f"{path} {(kinds or ['is not a BERT checkpoint'])[0]}: expected {WORD_EMBEDDINGS}, bert/encoder/layer_0/... "
        f"(or TF Hub's names of them), found {', '.join(names[:3]) or 'nothing'}, .... Export other models from a "
        "Hugging Face directory."
    )


def class_of_heads(names: Iterable[str]) -> str:
    """Return the name of the transformers class that has the same heads."""
    found = set(names)
    return next((value for key, value in _CLASSES_BY_HEAD.items() if key in found), "BertModel")


def to_pytorch(name: str, value: npt.NDArray[Any]) -> tuple[str, npt.NDArray[Any]]:
    """Rename a weight, and transpose it if it is a dense kernel; names that are not BERT's are kept."""
    if name in _HEADS:
        return _HEADS[name], value
    if not _BERT_NAME.fullmatch(name):
        return name, value
    scope, _, last = name.rpartition("/")
    path = re.sub(r"\blayer_(\d+)", r"layer.\1", scope).replace("/", ".")
    if last.endswith("_embeddings"):
        return f"{path}.{last}.weight", value
    return path + _ENDINGS.get(last, f".{last}"), np.ascontiguousarray(value.T) if last == "kernel" else value


def expected_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight of an encoder with its pooler, by Google's names.

    Args:
        config: sizes under the names of bert_config.json.
    """
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        WORD_EMBEDDINGS: (config["vocab_size"], hidden),
        "bert/embeddings/position_embeddings": (config["max_position_embeddings"], hidden),
        "bert/embeddings/token_type_embeddings": (config["type_vocab_size"], hidden),
        **_norm("bert/embeddings/LayerNorm", hidden),
        **_dense("bert/pooler/dense", hidden, hidden),
    }
    for number in range(config["num_hidden_layers"]):
        layer = f"bert/encoder/layer_{number}"
        for part in ("self/query", "self/key", "self/value", "output/dense"):
            shapes |= _dense(f"{layer}/attention/{part}", hidden, hidden)
        shapes |= _norm(f"{layer}/attention/output/LayerNorm", hidden)
        shapes |= _dense(f"{layer}/intermediate/dense", hidden, inner)
        shapes |= _dense(f"{layer}/output/dense", inner, hidden)
        shapes |= _norm(f"{layer}/output/LayerNorm", hidden)
    return shapes


def _dense(scope: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{scope}/kernel": (inputs, outputs), f"{scope}/bias": (outputs,)}


def _norm(scope: str, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{scope}/gamma": (size,), f"{scope}/beta": (size,)}
