"""Match the labels of a data file with those of the model."""

from __future__ import annotations

from collections.abc import Mapping

from bertbundle._shared.validation import short_repr
from bertbundle.data.examples import DataTask
from bertbundle.data.places import Place
from bertbundle.errors import InputError

__all__ = ["rename_label"]

_SHOWN = 12


def rename_label(label: str, task: DataTask, rename: Mapping[str, str], place: Place) -> str:
    """Return the model's label for a label of the file; "" if it is left out.

    Args:
        label: the label in the file.
        task: what the model takes.
        rename: see `DataOptions.rename`.
        place: file and line, for the message.

    Raises:
        InputError: the model has no such label.
    """
    found = rename.get(label, label)
    if found and found not in task.labels:
        shown = ", ".join(task.labels[:_SHOWN]) + (", ..." if len(task.labels) > _SHOWN else "")
        said = short_repr(label) if found == label else f"{short_repr(found)}, renamed from {short_repr(label)},"
        raise InputError(
            f"{place}: label {said} is not one of the model's: {shown}. Pass --rename {label}=LABEL to rename it, or "
            f"--rename {label}= to leave it out."
        )
    return found
