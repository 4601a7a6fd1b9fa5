"""The interface of a checkpoint format: it detects, describes and reads checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from bertbundle._shared.validation import short_repr
from bertbundle_export.errors import CheckpointError
from bertbundle_export.tasks import HeadSpec, as_labels
from bertbundle_export.unicode import check_unicode

__all__ = ["CheckpointFormat", "DenseModule", "Description", "LoadOptions", "StateDict"]

StateDict = dict[str, npt.NDArray[Any]]
"""Weights in the names and the layout of transformers' PyTorch classes: dense weights are ``[out, in]``, names are
like ``bert.encoder.layer.0.attention.self.query.weight``, with or without the leading ``bert.``."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What the user states about a checkpoint, in addition to its files or instead of them.

    Attributes:
        format: name of the checkpoint format; None detects it.
        task: name of a task; None for the task of the checkpoint's architecture.
        labels: label of each class index; None for the checkpoint's.
        heads: each of several heads by name, instead of task and labels; empty if there is one.
        multi_label: whether classes are independent; None for the checkpoint's setting.
        pooling: a key of `tasks.POOLINGS`; None for the checkpoint's, else mean.
        last_layers: number of last layers that are concatenated into the features.
        normalize: whether sentence embeddings are scaled to length 1; None for the checkpoint's setting.
        lowercase: whether the tokenizer lower-cases; None for the checkpoint's setting.
        tokenizer: a directory or vocab.txt to take the tokenizer from instead; a str becomes a `Path`.
        config: a config.json, or its directory, for weights without one; a str becomes a `Path`.
        model_class: ``module:name`` of the user's own class or function that builds the model.
        init_args: arguments for it; those that are settings of a transformers config are set in the config.
        revision: branch, tag or commit of a hub source; None for its main branch.
        allow_pickle: whether PyTorch pickles may be read.
    """

    format: str | None = None
    task: str | None = None
    labels: tuple[str, ...] | None = None
    heads: Mapping[str, HeadSpec] = field(default_factory=dict)
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
        for name in ("tokenizer", "config"):
            self._set_path(name)
        if self.labels is not None:
            object.__setattr__(self, "labels", as_labels(self.labels))
        for label in self.labels or ():
            check_unicode(label, "the label")
        if self.last_layers < 1:
            raise CheckpointError(f"last_layers must be at least 1, got {self.last_layers}.")
        if self.last_layers > 1 and self.pooling == "pooler":
            raise CheckpointError("the pooler reads the last layer only: with last_layers choose mean, cls or max.")
        given = [name for name in ("task", "labels", "multi_label", "pooling") if getattr(self, name) is not None]
        if self.heads and given:
            raise CheckpointError(
                f"{' and '.join(given)} cannot be given together with heads. State it for each head (HeadSpec in "
                "Python, --head and --head-option on the command line)."
            )

    def _set_path(self, name: str) -> None:
        path = getattr(self, name)
        if path is None:
            return
        if not isinstance(path, str | Path):
            raise CheckpointError(f"{name} of LoadOptions is {short_repr(path)}, expected a path.")
        object.__setattr__(self, name, Path(path))
        check_unicode(Path(path).absolute(), "the path")


@dataclass(frozen=True, slots=True)
class DenseModule:
    """A Dense module, which maps the sentence embedding to another one.

    Attributes:
        directory: its folder, with the weights.
        inputs, outputs: sizes of the embeddings.
        has_bias: whether it has a bias.
        activation: "tanh" or "linear"; another one, which is not supported, by its name in torch.
    """

    directory: Path
    inputs: int
    outputs: int
    has_bias: bool
    activation: str


@dataclass(frozen=True, slots=True)
class Description:
    """The facts about a checkpoint, without its weights.

    Attributes:
        format: name of its format.
        path: its path.
        kind: kind of its weight files, for users.
        files: the weight files.
        config: the model's configuration with the keys of transformers' config.json: `model_type`, sizes,
            `architectures` (the class that the weights belong to), `id2label` if labels are known.
        tokenizer: directory or vocab.txt of its tokenizer; None if it has none.
        lowercase: whether the tokenizer lower-cases, if the checkpoint says so outside the tokenizer's files.
        pooling, dense, normalize: how sentence-transformers computes the sentence embeddings, if the checkpoint
            says so.
        max_length: number of tokens that sentence-transformers truncates texts to, if the checkpoint says so.
        lowercase_texts: whether sentence-transformers lower-cases texts in front of the tokenizer.
        prompt: the text that sentence-transformers puts in front of every text; "" for none.
        build_model: builds a Keras model that transformers has no class for, from a transformers config and
            `init_args`; None for transformers' own classes.
        init_args: arguments of `build_model`.
        heads: each of several heads that `build_model` builds, as the checkpoint states it; empty if there is one.
        run_graph: runs the checkpoint's own graph, if it has one: takes BERT's inputs by name, returns its
            `last_hidden_state` and `pooler_output`. The model that is built from the weights must agree with it.
        problem: why the checkpoint cannot be loaded with these options, although it is described; "" if it can.
        notes: assumptions that the user should know; they go to the manifest.
    """

    format: str
    path: Path
    kind: str
    files: tuple[Path, ...]
    config: Mapping[str, Any]
    tokenizer: Path | None = None
    lowercase: bool | None = None
    pooling: str | None = None
    dense: tuple[DenseModule, ...] = ()
    normalize: bool = False
    max_length: int | None = None
    lowercase_texts: bool = False
    prompt: str = ""
    build_model: Callable[..., Any] | None = None
    init_args: Mapping[str, Any] = field(default_factory=dict)
    heads: Mapping[str, HeadSpec] = field(default_factory=dict)
    run_graph: Callable[[Mapping[str, npt.NDArray[Any]]], Mapping[str, npt.NDArray[Any]]] | None = None
    problem: str = ""
    notes: tuple[str, ...] = ()


class CheckpointFormat(Protocol):
    """Reads one kind of checkpoint. An instance called `FORMAT` in a module of `formats` is found automatically."""

    name: str
    """Name for `--format` and the manifest."""
    expected: str
    """The files it expects, for the error message when no format matches."""

    def detect(self, path: Path) -> bool:
        """Return whether the files at `path` have this format, without reading weights; never raises."""

    def describe(self, path: Path, options: LoadOptions) -> Description:
        """Describe the checkpoint without reading weights; raise `CheckpointError` if it cannot be read."""

    def read(self, description: Description, options: LoadOptions) -> StateDict:
        """Read all weights as float32; raise `CheckpointError` with the file or tensor that is invalid."""
