"""The heads of a model that has several: one encoder, and one task for each head."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bertbundle._shared.validation import short_repr

__all__ = ["MULTI_TASK", "Head", "check_head_names", "check_heads", "output_name"]

MULTI_TASK = "multi-task"
"""The task of a model with several heads. A client that does not know it refuses the model."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Head:
    """One of several heads of a model. Its outputs are called ``<name of the head>.<output of its task>``.

    Attributes:
        task, labels, label_scheme, label_decoding, word_labels, multi_label: see `Manifest`.

    >>> Head("text-classification", labels=("greet", "book")).label_scheme
    'none'
    """

    task: str
    labels: tuple[str, ...] = ()
    label_scheme: str = "none"
    label_decoding: str = "none"
    word_labels: str = "token"
    multi_label: bool = False


def output_name(head: str, output: str) -> str:
    """Return the name of an output of one of several heads.

    >>> output_name("slots", "label_ids")
    'slots.label_ids'
    """
    return f"{head}.{output}"


def check_heads(task: str, heads: Mapping[str, Head], outputs: Iterable[str]) -> None:
    """Check the heads in a manifest: exactly the task `MULTI_TASK` has some, and each has outputs.

    Raises:
        ValueError: they are not valid.
    """
    if (task == MULTI_TASK) != bool(heads):
        raise ValueError(f"heads belong to the task {MULTI_TASK}: got {task} with heads {', '.join(heads) or 'none'}")
    check_head_names(heads)
    served = tuple(outputs)
    for name, head in heads.items():
        if head.task == MULTI_TASK or not any(output.startswith(output_name(name, "")) for output in served):
            raise ValueError(f"the head {name} needs a task of its own and outputs, got {head.task}")


def check_head_names(names: Iterable[str]) -> None:
    """Check the names of heads.

    Raises:
        ValueError: one is not valid.
    """
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(
                f"{short_repr(name)} is not a valid name of a head: use a letter, then letters, digits, '_' and '-'"
            )
