"""Find the config.json, the tokenizer, of weights that are a file and not a directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bertbundle_export.checkpoints.base import LoadOptions
from bertbundle_export.errors import CheckpointError

__all__ = ["find_config", "find_tokenizer"]

_CONFIGS = ("config.json", "bert_config.json")
_TOKENIZERS = ("tokenizer.json", "vocab.txt")


def find_config(path: Path, options: LoadOptions) -> dict[str, Any]:
    """Return the configuration that is given, or else the one beside the weights; an empty one if there is neither.

    Google's bert_config.json does not say that it is a BERT; its other terms are those of config.json.

    Raises:
        CheckpointError: there is none where the user says, or it is no configuration.
    """
    place = options.config or path.parent
    candidates = [place / name for name in _CONFIGS] if place.is_dir() else [place]
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
    return {"model_type": "bert", **config}


def find_tokenizer(path: Path, options: LoadOptions) -> Path | None:
    """Return the directory with the tokenizer beside the weights, or beside the configuration that is given."""
    places = [path.parent]
    if options.config:
        places.append(options.config if options.config.is_dir() else options.config.parent)
    return next((place for place in places for name in _TOKENIZERS if (place / name).is_file()), None)
