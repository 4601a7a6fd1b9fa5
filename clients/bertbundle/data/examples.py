"""Labelled texts, as they are read from a data file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bertbundle.contract.labels import OUTSIDE, parse_labels
from bertbundle.contract.manifest import Manifest
from bertbundle.data.places import Places
from bertbundle.errors import InputError

__all__ = ["DataOptions", "DataTask", "Dataset", "Example", "Span", "data_task"]


class Span(NamedTuple):
    """A labelled span of a text: characters ``[start, end)``."""

    label: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Example:
    """One text of a data file, with its labels.

    Attributes:
        text: what the client's method takes: a text, a pair of texts (a question comes first, its context second), or a
            list of words if `Dataset.is_split_into_words`.
        gold: the labels, by task; None if the file has none.

            - token-classification, span-classification: a tuple of `Span`, in characters of `shown`.
            - text-classification: a tuple of labels; exactly one unless the model is multi-label.
            - regression, feature-extraction (the similarity of a pair): a float.
            - question-answering: a tuple of acceptable answers; empty if the context has no answer.
            - fill-mask: a tuple with the expected token of each mask, in order.
        line: line of the text in the file, or of its first token, from 1; for Parquet and JSON, the number of the row
            or the question.
    """

    text: Any
    gold: Any
    line: int

    @property
    def shown(self) -> Any:
        """The text or pair of texts; words are joined by single spaces, which offsets refer to."""
        return " ".join(self.text) if isinstance(self.text, list) else self.text


@dataclass(frozen=True, slots=True)
class DataTask:
    """What a model needs from a data file.

    Attributes:
        name: the task's name in the manifest.
        labels: the labels that its results may have: entity types without prefix, or classes; empty for other tasks.
        multi_label: whether a text may have any number of labels.
        mask_token: the text of the mask token; "" unless the task is fill-mask.
    """

    name: str
    labels: tuple[str, ...] = ()
    multi_label: bool = False
    mask_token: str = ""


@dataclass(frozen=True, slots=True)
class DataOptions:
    """How to read a data file.

    Attributes:
        format: name of the format in `FORMATS`; None for the one that the file's name and content suggest.
        text, pair, label: names of the columns of a text, of the second text of a pair, and of the labels. In a CoNLL
            file they are numbers from 1, or negative from the last column. None for the default names.
        rename: replaces labels of the file; a label that is replaced by "" is left out of the evaluation.
        scheme: label scheme of the tags, see `SCHEMES` in `bertbundle.data.tags`; None for the one that they suggest.
        strict: whether tags that the scheme does not allow form no span, as in seqeval's strict mode.
        units: "characters" (joined without spaces), "words" (joined by spaces), or "auto": characters if every token of
            the file is a single one.
        need_labels: whether a file without labels is an error.
        ignore_labels: whether to ignore the labels of the file.
    """

    format: str | None = None
    text: str | None = None
    pair: str | None = None
    label: str | None = None
    rename: Mapping[str, str] = field(default_factory=dict)
    scheme: str | None = None
    strict: bool = False
    units: str = "auto"
    need_labels: bool = True
    ignore_labels: bool = False


@dataclass(frozen=True, slots=True)
class Dataset:
    """The content of a data file.

    Attributes:
        places: the file, and where in it the texts are.
        examples: its texts; at least one.
        labelled: whether they have labels.
        is_split_into_words: whether each text is a list of words.
        version_2: whether it is SQuAD 2.0: a context may have no answer.
        left_out: labels that are not evaluated: see `DataOptions.rename`.
        notes: what was noticed while reading, each one sentence.
    """

    places: Places
    examples: tuple[Example, ...]
    labelled: bool = True
    is_split_into_words: bool = False
    version_2: bool = False
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """The file."""
        return self.places.path

    @property
    def place(self) -> str:
        """What `Example.line` counts: "line", "row" or "question"."""
        return self.places.unit

    def where(self, example: Example) -> str:
        """Return the file and line of an example, for messages."""
        return str(self.places.at(example.line))


def data_task(manifest: Manifest, head: str | None = None) -> DataTask:
    """Return what a model, or one of its heads, needs from a data file.

    Raises:
        InputError: there is no such head, or the model has several and `head` is None.
    """
    names = ", ".join(manifest.heads)
    if head is None and manifest.heads:
        raise InputError(f"model {manifest.name!r} has the heads {names}: choose one with --head.")
    if head is not None and head not in manifest.heads:
        advice = f"it has {names}. Change --head" if names else f"it is for {manifest.task} only. Omit --head"
        raise InputError(f"model {manifest.name!r} has no head {head!r}, {advice}.")
    part = manifest if head is None else manifest.heads[head]
    labels = part.labels if part.label_scheme == "none" else _entity_types(part.labels, part.label_scheme)
    return DataTask(part.task, labels, part.multi_label, manifest.mask_token)


def _entity_types(labels: tuple[str, ...], scheme: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tag.type for tag in parse_labels(labels, scheme) if tag.role != OUTSIDE))
