"""Read the labels that TensorFlow 1 taggers store beside their checkpoint."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bertbundle_export.checkpoints.base import LoadOptions
from bertbundle_export.errors import CheckpointError

__all__ = ["find_labels", "read_labels"]

_PICKLES, _TEXTS = ("label2id.pkl", "label_list.pkl"), ("labels.txt", "label.txt", "label_list.txt")
_PADDING = "[PAD]"


def find_labels(directory: Path, count: int, options: LoadOptions) -> tuple[str, ...]:
    """Return the labels in the order of their numbers; empty if there is no file of them.

    Args:
        directory: the directory of the checkpoint.
        count: number of the model's labels.
        options: the user's labels, and whether pickles may be read.

    Raises:
        CheckpointError: there are more or fewer labels, a file cannot be read, or it is a pickle that may not be read.
    """
    if options.labels:
        return _check_count(options.labels, count, "--labels")
    for name in _TEXTS:
        if (directory / name).is_file():
            return _check_count(read_labels(directory / name), count, directory / name)
    found = next((directory / name for name in _PICKLES if (directory / name).is_file()), None)
    if found is None:
        return ()
    if not options.allow_pickle:
        raise CheckpointError(
            f"the labels are in {found}, a pickle, which may run code when it is read. Pass --labels, in the order of "
            "their numbers, or --allow-pickle if you trust it."
        )
    return _check_count(_read_pickle(found, count), count, found)


def _check_count(labels: Sequence[str], count: int, where: object) -> tuple[str, ...]:
    if len(labels) == count:
        return tuple(labels)
    raise CheckpointError(
        f"the model has {count} labels, {where} has {len(labels)}: {', '.join(labels)}. Pass --labels with all of them "
        f"in the order of their numbers. If they are numbered from 1, as in BERT-BiLSTM-CRF-NER, {_PADDING} is the "
        "first."
    )


def read_labels(path: Path) -> list[str]:
    """Return the labels in a text file, one per line.

    Raises:
        CheckpointError: it cannot be read, or is not UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CheckpointError(
            f"the file of labels {path} cannot be read: {error.strerror or error}. Name a text file with a label per "
            "line."
        ) from error
    except UnicodeDecodeError as error:
        raise CheckpointError(f"the file of labels {path} cannot be read as UTF-8: {error}. Convert it.") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _read_pickle(path: Path, count: int) -> list[str]:
    try:
        with path.open("rb") as file:
            stored: Any = pickle.load(file)  # noqa: S301 - the user allows it
        if not isinstance(stored, dict):
            return [str(label) for label in stored]
        by_number = {int(number): str(label) for label, number in stored.items()}
    except Exception as error:  # unpickling may raise anything
        raise CheckpointError(f"{path} has no labels: {type(error).__name__}: {error}. Pass --labels.") from error
    labels = {0: _PADDING, **by_number}  # numbers begin at 1 in many taggers: only padding has 0
    if sorted(labels) != list(range(count)):
        raise CheckpointError(f"{path} has labels with the numbers {sorted(by_number)}, the model has {count} labels.")
    return [labels[number] for number in range(count)]
