"""Hugging Face directories: config.json, weights (safetensors, TensorFlow h5 or PyTorch pickle), tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bertbundle_export.checkpoints.base import Description, LoadOptions, StateDict
from bertbundle_export.checkpoints.readers.weight_files import (
    WeightFiles,
    find_weights,
    read_keras_h5,
    read_pytorch,
    read_safetensors,
    safetensors_header,
)
from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.architectures import check_config, complete_config

__all__ = ["FORMAT", "POOLING_MODES", "read_config"]

_READERS: Mapping[str, Callable[[tuple[Path, ...]], StateDict]] = {
    "safetensors": read_safetensors,
    "tf_h5": read_keras_h5,
    "pytorch": read_pytorch,
}
# The modules of sentence-transformers that a bundle supports, and sentence-transformers' names of the poolings.
_MODULES = ("Transformer", "Pooling", "Normalize")
POOLING_MODES = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
}


class HuggingFaceFormat:
    """See `CheckpointFormat`."""

    name = "huggingface"
    expected = "a directory with config.json and model.safetensors, tf_model.h5 or pytorch_model.bin"

    def detect(self, path: Path) -> bool:
        """See `CheckpointFormat.detect`."""
        return path.is_dir() and (path / "config.json").is_file()

    def describe(self, path: Path, options: LoadOptions) -> Description:
        """See `CheckpointFormat.describe`."""
        del options
        config = read_config(path / "config.json")
        weights = _weights(path)
        if weights.kind == "safetensors":
            for file in weights.files:
                safetensors_header(file)
        pooling, normalize = _sentence_transformers(path)
        return Description(
            self.name, path, weights.kind, weights.files, config, path, pooling=pooling, normalize=normalize
        )

    def read(self, description: Description, options: LoadOptions) -> StateDict:
        """See `CheckpointFormat.read`."""
        if description.kind == "pytorch" and not options.allow_pickle:
            raise CheckpointError(
                f"{description.files[0]} is a PyTorch pickle, which may run code when it is read. Convert it to "
                "model.safetensors, or pass --allow-pickle if you trust it."
            )
        return _READERS[description.kind](description.files)


FORMAT = HuggingFaceFormat()


def read_config(path: Path, **defaults: Any) -> dict[str, Any]:
    """Read and check a config.json.

    Args:
        path: the file.
        **defaults: values for keys that it does not have.

    Raises:
        CheckpointError: it is not a configuration, or the model it describes cannot be exported.
    """
    config = _read_json(path, None)
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} is not a model's configuration: found {type(config).__name__}.")
    config = complete_config(defaults | config)
    check_config(config, path)
    return config


def _read_json(path: Path, default: Any) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else default
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}.") from error


def _weights(path: Path) -> WeightFiles:
    weights = find_weights(path)
    saved_models = sorted(file.parent for file in path.glob("saved_model/*/saved_model.pb"))
    if weights is None and saved_models:
        raise CheckpointError(
            f"{path} has its weights in a SavedModel only. Export {saved_models[-1]}, with --config {path} and "
            f"--tokenizer {path}."
        )
    if weights is None:
        raise CheckpointError(
            f"{path} has config.json but no weights: expected model.safetensors, tf_model.h5 or pytorch_model.bin, "
            "or an index of shards."
        )
    return weights


def _sentence_transformers(path: Path) -> tuple[str | None, bool]:
    """Return the pooling and the normalization that sentence-transformers stored."""
    modules = _read_json(path / "modules.json", [])
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise CheckpointError(
            f"{path / 'modules.json'} is not in sentence-transformers' format: expected a list of objects."
        )
    kinds = [str(module.get("type", "")).rsplit(".", 1)[-1] for module in modules]
    unsupported = [kind for kind in kinds if kind not in _MODULES]
    stored = _read_json(path / "1_Pooling" / "config.json", {})
    if not isinstance(stored, dict):
        raise CheckpointError(
            f"{path / '1_Pooling' / 'config.json'} is not in sentence-transformers' format: expected an object."
        )
    modes = [key for key, value in stored.items() if key.startswith("pooling_mode_") and value is True]
    supported = not unsupported and len(modes) <= 1 and all(mode in POOLING_MODES for mode in modes)
    if supported:
        return (POOLING_MODES[modes[0]] if modes else None), "Normalize" in kinds
    return ", ".join(unsupported or modes), "Normalize" in kinds
