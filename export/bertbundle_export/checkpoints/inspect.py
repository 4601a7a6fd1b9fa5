"""Describe a checkpoint without reading its weights, and without TensorFlow if its format allows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bertbundle_export.checkpoints.base import Description, LoadOptions
from bertbundle_export.checkpoints.loader import class_name, find_task, load_tokenizer, stored_labels
from bertbundle_export.checkpoints.registry import describe_checkpoint
from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.architectures import find_architecture
from bertbundle_export.source.tokenization import is_lowercase

__all__ = ["inspect_checkpoint"]


def inspect_checkpoint(path: Path, options: LoadOptions) -> dict[str, Any]:
    """Return the facts about a checkpoint by name.

    Raises:
        CheckpointError: it cannot be read.
    """
    description = describe_checkpoint(path, options)
    config = description.config
    architecture = find_architecture(config, path)
    tokenizer = load_tokenizer(description, options) if options.tokenizer or description.tokenizer else None
    return {
        "format": description.format,
        "weights": f"{description.kind}: {', '.join(file.name for file in description.files)}",
        "bytes": sum(_size(file) for file in description.files),
        "architecture": class_name(description),
        "task": _task(description, options),
        "layers": architecture.size(config, "layers"),
        "hidden_size": architecture.size(config, "hidden_size"),
        "heads": architecture.size(config, "heads"),
        "vocab_size": architecture.size(config, "vocab_size"),
        "max_positions": architecture.size(config, "positions"),
        "lowercase": description.lowercase_texts or is_lowercase(tokenizer)
        if tokenizer
        else "no tokenizer: pass --tokenizer",
        "labels": ", ".join(options.labels or stored_labels(config)) or "none",
        "pooling": _pooling(description, options),
    }


def _size(path: Path) -> int:
    """Return the size of a file, or of all files in a directory: a SavedModel."""
    return sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())


def _pooling(description: Description, options: LoadOptions) -> str:
    """Return how the sentence embedding is computed, if that is known."""
    normalize = description.normalize if options.normalize is None else options.normalize
    dense = "" if options.pooling else "".join(f", Dense {d.inputs} to {d.outputs}" for d in description.dense)
    pooling = options.pooling or description.pooling or description.init_args.get("pooling") or "not stated"
    prompt = f", prompt {description.prompt!r}" if description.prompt else ""
    return f"{pooling}{dense}{', normalized' if normalize else ''}{prompt}"


def _task(description: Description, options: LoadOptions) -> str:
    if description.problem:
        return "unknown: the export needs --head for each head, or --model-class"
    try:
        return find_task(description, options).name
    except CheckpointError:
        return "unknown: pass --task"
