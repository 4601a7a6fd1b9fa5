"""Detect the format of a checkpoint and describe it."""

from __future__ import annotations

from pathlib import Path

from bertbundle.contract.manifest import MANIFEST_FILE
from bertbundle_export.checkpoints.base import CheckpointFormat, Description, LoadOptions
from bertbundle_export.checkpoints.formats import CHECKPOINT_FORMATS
from bertbundle_export.errors import CheckpointError

__all__ = ["describe_checkpoint", "find_format"]

_FILES_OF_DIRECTORY = (
    "model.safetensors",
    "pytorch_model.bin",
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "modules.json",
)


def find_format(path: Path, name: str | None = None) -> CheckpointFormat:
    """Return the format of the checkpoint at a path, or the format with the given name.

    Raises:
        CheckpointError: there is no format with this name, or none can read the checkpoint.
    """
    if name is not None:
        if name not in CHECKPOINT_FORMATS:
            raise CheckpointError(f"unknown format {name!r}, expected one of {', '.join(CHECKPOINT_FORMATS)}.")
        return CHECKPOINT_FORMATS[name]
    if (path / MANIFEST_FILE).is_file():
        raise CheckpointError(
            f"{path} is a bundle, ready to be served. To export again, give the checkpoint that it was made from."
        )
    for checkpoint_format in CHECKPOINT_FORMATS.values():
        if checkpoint_format.detect(path):
            return checkpoint_format
    if path.name in _FILES_OF_DIRECTORY and path.is_file():
        raise CheckpointError(
            f"{path} is one file of a Hugging Face directory. Give its directory, {path.parent}, with config.json and "
            "the tokenizer."
        )
    inner = _checkpoints_in(path)
    if inner:
        raise CheckpointError(
            f"{path} is not a checkpoint, but a directory with checkpoints. Give one of them: "
            f"{', '.join(str(item) for item in inner[:8])}."
        )
    found = ", ".join(sorted(item.name for item in path.iterdir())[:8]) if path.is_dir() else "a file"
    expected = "; ".join(f"{item.name}: {item.expected}" for item in CHECKPOINT_FORMATS.values())
    raise CheckpointError(
        f"{path} is not a readable checkpoint: found {found or 'an empty directory'}, expected one of: {expected}."
    )


def _checkpoints_in(path: Path) -> list[Path]:
    """Return the directories in a directory that are checkpoints, such as those that transformers' Trainer writes."""
    directories = sorted(item for item in path.iterdir() if item.is_dir()) if path.is_dir() else []
    return [item for item in directories if any(row.detect(item) for row in CHECKPOINT_FORMATS.values())]


def describe_checkpoint(path: Path, options: LoadOptions) -> Description:
    """Describe the checkpoint at a path without reading its weights.

    Raises:
        CheckpointError: it cannot be read, or its files contradict each other.
    """
    try:
        return find_format(path, options.format).describe(path, options)
    except CheckpointError as error:
        found = next((item.name for item in CHECKPOINT_FORMATS.values() if item.detect(path)), None)
        if options.format in CHECKPOINT_FORMATS and found not in (None, options.format):
            raise CheckpointError(f"{path} looks like {found}, not {options.format}: {error}") from error
        raise
