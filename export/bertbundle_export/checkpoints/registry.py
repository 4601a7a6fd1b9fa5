"""Find out the format of a checkpoint, and describe it."""

from __future__ import annotations

from pathlib import Path

from bertbundle.contract.manifest import MANIFEST_FILE
from bertbundle_export.checkpoints.base import CheckpointFormat, Description, LoadOptions
from bertbundle_export.checkpoints.formats import FORMATS
from bertbundle_export.errors import CheckpointError

__all__ = ["describe_checkpoint", "find_format"]

_PARTS_OF_DIRECTORIES = ("model.safetensors", "pytorch_model.bin")


def find_format(path: Path, name: str | None = None) -> CheckpointFormat:
    """Return the format of the checkpoint at a path, or the one of a given name.

    Raises:
        CheckpointError: no such name, or no checkpoint we can read: says what is there.
    """
    if name is not None:
        if name not in FORMATS:
            raise CheckpointError(f"unknown format {name!r}, expected one of {', '.join(FORMATS)}.")
        return FORMATS[name]
    if (path / MANIFEST_FILE).is_file():
        raise CheckpointError(f"{path} is a bundle, which is served as it is. To export again, name its checkpoint.")
    for checkpoint_format in FORMATS.values():
        if checkpoint_format.detect(path):
            return checkpoint_format
    if path.name in _PARTS_OF_DIRECTORIES:
        raise CheckpointError(
            f"{path} is one file of a Hugging Face directory. Name its directory, {path.parent}, with config.json and "
            "the tokenizer."
        )
    found = ", ".join(sorted(item.name for item in path.iterdir())[:8]) if path.is_dir() else "a file"
    expected = "; ".join(f"{item.name}: {item.expected}" for item in FORMATS.values())
    raise CheckpointError(
        f"{path} is not a checkpoint that can be read: found {found or 'an empty directory'}, expected one of: "
        f"{expected}."
    )


def describe_checkpoint(path: Path, options: LoadOptions) -> Description:
    """Say what the checkpoint at a path is, without reading its weights.

    Raises:
        CheckpointError: it cannot be read, or does not hold together.
    """
    try:
        return find_format(path, options.format).describe(path, options)
    except CheckpointError as error:
        found = next((item.name for item in FORMATS.values() if item.detect(path)), None)
        if options.format in FORMATS and found not in (None, options.format):
            raise CheckpointError(f"{path} looks like {found}, not {options.format}: {error}") from error
        raise
