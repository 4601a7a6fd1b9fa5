"""What a checkpoint format says and gives: a description first, without weights, and then the weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from bertbundle_export.errors import CheckpointError

__all__ = ["CheckpointFormat", "Description", "LoadOptions", "StateDict"]

StateDict = dict[str, npt.NDArray[Any]]
"""Weights by the names, and in the layout, that transformers' PyTorch classes give them: dense weights
``[out, in]``, ``bert.encoder.layer.0.attention.self.query.weight``, with or without the leading ``bert.``."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What the user may say of a checkpoint that its files do not.

    Attributes:
        format: name of the checkpoint format; None finds it out.
        task: name of a task; None for what the checkpoint's architecture says.
        labels: label of each class index; None for what the checkpoint says.
        multi_label: whether classes are independent; None for what the checkpoint says.
        pooling: a key of `tasks.POOLINGS`; None for what the checkpoint says, else mean.
        last_layers: number of last layers that features are made of, concatenated.
        normalize: whether sentence embeddings get length 1; None for what the checkpoint says.
        lowercase: whether the tokenizer lower-cases; None for what the checkpoint says.
        tokenizer: a directory or vocab.txt to take the tokenizer from instead.
        config: a config.json, or the directory of one, for weights that come without.
        model_class: ``module:name`` of the user's own class, or function, that makes the model.
        init_args: its arguments; those that a transformers config knows go to the config.
        revision: branch, tag or commit of a hub source; None for its main branch.
        allow_pickle: whether PyTorch pickles may be read.
    """

    format: str | None = None
    task: str | None = None
    labels: tuple[str, ...] | None = None
    multi_label: bool | None = None
    pooling: str | None = None
    last_layers: int = 1
    normalize: bool | None = None
    lowercase: bool | None = None
    tokenizer: Path | None = None
    config: Path | None = None
    model_class: str | None = None
    init_args: Mapping[str, Any] = field(default_factory=dict)
    revision: str | None = None
    allow_pickle: bool = False

    def __post_init__(self) -> None:
        if self.last_layers < 1:
            raise CheckpointError(f"last_layers must be at least 1, got {self.last_layers}.")
        if self.last_layers > 1 and self.pooling == "pooler":
            raise CheckpointError("the pooler is of the last layer: with last_layers choose mean, cls or max.")


@dataclass(frozen=True, slots=True)
class Description:
    """What a checkpoint is, known without reading its weights.

    Attributes:
        format: name of its format.
        path: where it is.
        kind: of its weight files, for people to read.
        files: the weight files.
        config: the model's configuration in the terms of transformers' config.json. Has `model_type`, sizes,
            `architectures` (the class the weights belong to), `id2label` if labels are known.
        tokenizer: directory or vocab.txt of its tokenizer; None if it has none.
        lowercase: whether the tokenizer lower-cases, where the checkpoint says so outside the tokenizer's files.
        pooling, normalize: how sentence-transformers made its sentence embeddings, if it did.
        model_class: ``module:name`` of what makes the model, where no class of transformers does.
        init_args: its arguments.
        original: runs the checkpoint's own graph, if it comes with one: from BERT's inputs by name to its
            `last_hidden_state` and `pooler_output`. What is built from the weights must agree with it.
    """

    format: str
    path: Path
    kind: str
    files: tuple[Path, ...]
    config: Mapping[str, Any]
    tokenizer: Path | None = None
    lowercase: bool | None = None
    pooling: str | None = None
    normalize: bool = False
    model_class: str | None = None
    init_args: Mapping[str, Any] = field(default_factory=dict)
    original: Callable[[Mapping[str, npt.NDArray[Any]]], Mapping[str, npt.NDArray[Any]]] | None = None


class CheckpointFormat(Protocol):
    """Reads one kind of checkpoint. An instance called `FORMAT` in a module of `formats` is all it takes."""

    name: str
    """As `--format` and the manifest say it."""
    expected: str
    """What its files are, for the message when nothing fits."""

    def detect(self, path: Path) -> bool:
        """Return whether the files at `path` are of this format, without reading weights; never raises."""

    def describe(self, path: Path, options: LoadOptions) -> Description:
        """Say what is there, without reading weights, or why it cannot be read (`CheckpointError`)."""

    def read(self, description: Description, options: LoadOptions) -> StateDict:
        """Read all weights, float32; a `CheckpointError` names the file or tensor that is wrong."""
