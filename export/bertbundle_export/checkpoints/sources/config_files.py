"""Find the config.json and the tokenizer of weights that are a single file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bertbundle_export.checkpoints.base import LoadOptions
from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.architectures import complete_config

__all__ = ["find_config", "find_tokenizer"]

_CONFIGS = ("config.json", "bert_config.json")
_TOKENIZERS = ("tokenizer.json", "vocab.txt")


def find_config(path: Path, options: LoadOptions) -> dict[str, Any]:
    """Return the configuration that the user gave, else the one beside the weights; empty if there is none.

    Google's bert_config.json has the keys of config.json, except model_type.

    Raises:
        CheckpointError: there is none at the path that the user gave, or it is not a configuration.
    """
    parent = options.config or path.parent
    candidates = [parent / name for name in _CONFIGS] if parent.is_dir() else [parent]
    file = next((item for item in candidates if item.is_file()), None)
    if file is None and options.config:
        raise CheckpointError(f"--config {options.config}: found no {' or '.join(_CONFIGS)} there. Check the path.")
    if file is None:
        return {}
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} is not JSON: {error}.") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{file} is not a model's configuration: found {type(config).__name__}.")
    return complete_config({"model_type": "bert", **config})


def find_tokenizer(path: Path, options: LoadOptions) -> Path | None:
    """Return the directory with the tokenizer: that of the weights, or of the configuration that the user gave."""
    directories = [path.parent]
    if options.config:
        directories.append(options.config if options.config.is_dir() else options.config.parent)
    return next((item for item in directories for name in _TOKENIZERS if (item / name).is_file()), None)
