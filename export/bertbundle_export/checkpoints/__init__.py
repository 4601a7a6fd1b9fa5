"""Checkpoint formats. A format is one module with one class, registered by a row of `FORMATS`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bertbundle.errors import CheckpointError
from bertbundle_export.checkpoints.huggingface import HuggingFace
from bertbundle_export.model import SourceModel

__all__ = ["FORMATS", "CheckpointFormat", "LoadOptions", "find_format", "load_checkpoint"]


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What the user may say of a checkpoint that its files do not.

    Attributes:
        task: name of a task; None for what the checkpoint's architecture says.
        labels: label of each class index; None for what the checkpoint says.
        multi_label: whether classes are independent; None for what the checkpoint says.
        pooling: "mean" or "cls"; None for what the checkpoint says, else mean.
        normalize: whether sentence embeddings get length 1; None for what the checkpoint says.
        lowercase: whether the tokenizer lower-cases; None for what the checkpoint says.
        tokenizer: a directory or vocab.txt to take the tokenizer from instead.
        revision: branch, tag or commit of a hub source; None for its main branch.
    """

    task: str | None = None
    labels: tuple[str, ...] | None = None
    multi_label: bool | None = None
    pooling: str | None = None
    normalize: bool | None = None
    lowercase: bool | None = None
    tokenizer: Path | None = None
    revision: str | None = None


class CheckpointFormat(Protocol):
    """Reads one kind of checkpoint."""

    def detect(self, path: Path) -> bool:
        """Return whether the files at `path` are of this format, without reading weights."""

    def inspect(self, path: Path) -> dict[str, Any]:
        """Say what is there, without reading weights."""

    def load(self, path: Path, name: str, options: LoadOptions) -> SourceModel:
        """Load the model; every weight found a value, or a `CheckpointError` names those that did not."""


FORMATS: Mapping[str, CheckpointFormat] = {"huggingface": HuggingFace()}


def find_format(path: Path) -> CheckpointFormat:
    """Return the format of the checkpoint at a path.

    Raises:
        CheckpointError: there is none, or none we can read: says what is there.
    """
    for checkpoint_format in FORMATS.values():
        if checkpoint_format.detect(path):
            return checkpoint_format
    found = ", ".join(sorted(item.name for item in path.iterdir())[:8]) if path.is_dir() else "a file"
    raise CheckpointError(
        f"{path} is not a checkpoint that can be read: found {found or 'an empty directory'}, expected a Hugging Face "
        "directory (config.json with model.safetensors, tf_model.h5 or pytorch_model.bin)."
    )


def load_checkpoint(path: Path, name: str, options: LoadOptions) -> SourceModel:
    """Load a checkpoint of any format; `name` is the source as the user gave it.

    Raises:
        CheckpointError: it cannot be read, or does not hold together.
    """
    return find_format(path).load(path, name, options)
