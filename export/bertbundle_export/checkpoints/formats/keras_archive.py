"""Keras 3 archives (.keras) of keras-hub's BertBackbone or BertTextClassifier, read without Keras 3.

Two members of the zip are read, config.json and model.weights.h5; none of its code is run, nothing is written to disk.
Source of names and constants: keras-hub 0.32.0.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from bertbundle_export.checkpoints.base import Description, LoadOptions, StateDict
from bertbundle_export.checkpoints.formats._dense_head import find_problem_type
from bertbundle_export.checkpoints.formats._variable_names import rename_by
from bertbundle_export.checkpoints.readers.keras_file import read_datasets
from bertbundle_export.checkpoints.sources.config_files import find_tokenizer
from bertbundle_export.errors import CheckpointError

__all__ = ["FORMAT"]

_LAYER = "bert.encoder.layer.{n}"
_BACKBONE = "layers/bert_backbone/"
_HEAD = {"layers/dense/vars/0": "classifier.weight", "layers/dense/vars/1": "classifier.bias"}
_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"


def _layer_rows(path: str, pytorch: str) -> dict[str, str]:
    """Return the rows of a layer's two numbered variables: kernel and bias, or gamma and beta."""
    return {f"layers/{path}/vars/0": f"{pytorch}.weight", f"layers/{path}/vars/1": f"{pytorch}.bias"}


_ROWS = {
    "layers/reversible_embedding/vars/0": "bert.embeddings.word_embeddings.weight",
    "layers/position_embedding/vars/0": "bert.embeddings.position_embeddings.weight",
    "layers/embedding/vars/0": "bert.embeddings.token_type_embeddings.weight",
    **_layer_rows("layer_normalization", "bert.embeddings.LayerNorm"),
    **_layer_rows("transformer_encoder_{n}/_self_attention_layer/query_dense", f"{_LAYER}.attention.self.query"),
    **_layer_rows("transformer_encoder_{n}/_self_attention_layer/key_dense", f"{_LAYER}.attention.self.key"),
    **_layer_rows("transformer_encoder_{n}/_self_attention_layer/value_dense", f"{_LAYER}.attention.self.value"),
    **_layer_rows("transformer_encoder_{n}/_self_attention_layer/output_dense", f"{_LAYER}.attention.output.dense"),
    **_layer_rows("transformer_encoder_{n}/_self_attention_layer_norm", f"{_LAYER}.attention.output.LayerNorm"),
    **_layer_rows("transformer_encoder_{n}/_feedforward_intermediate_dense", f"{_LAYER}.intermediate.dense"),
    **_layer_rows("transformer_encoder_{n}/_feedforward_output_dense", f"{_LAYER}.output.dense"),
    **_layer_rows("transformer_encoder_{n}/_feedforward_layer_norm", f"{_LAYER}.output.LayerNorm"),
    **_layer_rows("dense", "bert.pooler.dense"),
}
_rename = rename_by(_ROWS)
# config.json's keys by BertBackbone's settings.
_CONFIG_KEYS = {
    "vocabulary_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "hidden_dim": "hidden_size",
    "intermediate_dim": "intermediate_size",
    "max_sequence_length": "max_position_embeddings",
    "num_segments": "type_vocab_size",
}
# BertBackbone uses gelu_approximate and epsilon 1e-12.
_FIXED = {"model_type": "bert", "hidden_act": "gelu_new", "layer_norm_eps": 1e-12}
_CLASSES = {"BertBackbone": "BertModel", "BertTextClassifier": "BertForSequenceClassification"}


class KerasArchiveFormat:
    """See `CheckpointFormat`."""

    name = "keras-v3"
    expected = "a .keras archive of keras-hub's BertBackbone or BertTextClassifier"

    def detect(self, path: Path) -> bool:
        """See `CheckpointFormat.detect`."""
        if not path.is_file() or not zipfile.is_zipfile(path):
            return path.is_file() and path.suffix == ".keras"
        with zipfile.ZipFile(path) as archive:
            return {_CONFIG, _WEIGHTS} <= set(archive.namelist())

    def describe(self, path: Path, options: LoadOptions) -> Description:
        """See `CheckpointFormat.describe`."""
        kind, settings = _parse(path, options.task)
        return Description(self.name, path, f"{kind} of keras-hub", (path,), settings, find_tokenizer(path, options))

    def read(self, description: Description, options: LoadOptions) -> StateDict:
        """See `CheckpointFormat.read`."""
        del options
        path = description.path
        stored = read_datasets(io.BytesIO(_member(path, _WEIGHTS)), path)
        layers = {name: value for name, value in stored.items() if name.startswith("layers/")}  # not the optimizer's
        has_head = any(name.startswith(_BACKBONE) for name in layers)
        named = {_pytorch_name(name, has_head=has_head): value for name, value in layers.items()}
        return {pytorch: _transpose(pytorch, value) for pytorch, value in named.items()}


FORMAT = KerasArchiveFormat()


def _member(path: Path, name: str) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(name)  # checks the member's CRC
    except (OSError, zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as a .keras archive: {error}. Download it again.") from error


def _parse(path: Path, task: str | None) -> tuple[str, dict[str, Any]]:
    """Return the class of the stored model, and its configuration.

    Raises:
        CheckpointError: the archive is damaged, or its class is not supported.
    """
    try:
        stored = json.loads(_member(path, _CONFIG))
        kind, config = stored["class_name"], stored["config"]
        if kind in _CLASSES:
            backbone = config["backbone"]["config"] if "backbone" in config else config
            settings = {key: int(backbone[name]) for name, key in _CONFIG_KEYS.items()}
            return kind, {
                **settings,
                **_FIXED,
                "architectures": [_CLASSES[kind]],
                **_class_settings(path, config, task),
            }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} has a config.json that cannot be read: {error!r}. Download it again.") from error
    raise CheckpointError(
        f"{path} has a {kind}, expected one of keras-hub's {', '.join(_CLASSES)}. Export another Keras 3 model "
        "from Python, with its own code: export_bundle(model, ...)."
    )


def _class_settings(path: Path, config: Mapping[str, Any], task: str | None) -> dict[str, Any]:
    count = config.get("num_classes")
    if not count:
        return {}
    task_or_default = task or ("regression" if count == 1 else "text-classification")
    problem = (
        {}
        if task == "feature-extraction"
        else find_problem_type(path, "logits", [config.get("activation")], task_or_default)
    )
    return {"id2label": {index: f"LABEL_{index}" for index in range(count)}, **problem}


def _pytorch_name(name: str, *, has_head: bool) -> str:
    """Return PyTorch's name of a variable. The first layer has no number; a classifier contains the backbone."""
    if has_head and not name.startswith(_BACKBONE):
        return _HEAD.get(name, name)
    plain = name.removeprefix(_BACKBONE) if has_head else name
    return _rename(plain.replace("transformer_encoder/", "transformer_encoder_0/")) or name


def _transpose(pytorch: str, value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Convert to PyTorch's layout. Attention kernels are ``[hidden, heads, size]``; its output's are the reverse."""
    if pytorch.endswith(".bias"):
        return value.reshape(-1)
    if value.ndim == 1 or "_embeddings" in pytorch:
        return value
    size = value.shape[-1] if ".output." in pytorch else value[0].size
    dense: npt.NDArray[Any] = value.reshape(-1, size).T
    return dense
