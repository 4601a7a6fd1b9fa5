"""Say what a checkpoint is, without reading its weights and without TensorFlow where its format allows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bertbundle_export.checkpoints.base import Description, LoadOptions
from bertbundle_export.checkpoints.loader import architecture, find_task, load_tokenizer, stored_labels
from bertbundle_export.checkpoints.registry import describe_checkpoint
from bertbundle_export.errors import CheckpointError
from bertbundle_export.source import tokenization
from bertbundle_export.source.architectures import find_encoder

__all__ = ["inspect_checkpoint"]


def inspect_checkpoint(path: Path, options: LoadOptions) -> dict[str, Any]:
    """Return what a checkpoint is, by name of the fact.

    Raises:
        CheckpointError: it cannot be read.
    """
    found = describe_checkpoint(path, options)
    encoder = find_encoder(found.config, path)
    tokenizer = load_tokenizer(found, options) if options.tokenizer or found.tokenizer else None
    return {
        "format": found.format,
        "weights": f"{found.kind}: {', '.join(file.name for file in found.files)}",
        "bytes": sum(file.stat().st_size for file in found.files),
        "architecture": architecture(found),
        "task": _task(found, options),
        "layers": encoder.size(found.config, "layers"),
        "hidden_size": encoder.size(found.config, "hidden_size"),
        "heads": encoder.size(found.config, "heads"),
        "vocab_size": encoder.size(found.config, "vocab_size"),
        "max_positions": encoder.size(found.config, "positions"),
        "lowercase": tokenization.is_lowercase(tokenizer) if tokenizer else "no tokenizer: pass --tokenizer",
        "labels": ", ".join(options.labels or stored_labels(found.config)) or "none",
        "pooling": _pooling(found, options),
    }


def _pooling(found: Description, options: LoadOptions) -> str:
    """Return how a text's vector is made, where that is known."""
    normalize = found.normalize if options.normalize is None else options.normalize
    pooling = options.pooling or found.pooling or found.init_args.get("pooling") or "not stated"
    return f"{pooling}, normalized" if normalize else str(pooling)


def _task(found: Description, options: LoadOptions) -> str:
    try:
        return find_task(found, options).name
    except CheckpointError:
        return "not known: pass --task"
