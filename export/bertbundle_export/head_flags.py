"""The flags of the `bertbundle-export` command that describe several heads: --head and --head-option."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bertbundle.errors import InputError
from bertbundle_export.checkpoints.sources.label_files import read_labels
from bertbundle_export.tasks import HEAD_TASKS, HeadSpec

__all__ = ["add_head_flags", "read_head_flags", "split_labels"]

_OPTIONS = tuple(field.name for field in dataclasses.fields(HeadSpec) if field.name not in ("task", "labels"))
_SWITCH = {"true": True, "false": False}


def add_head_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags to a parser."""
    parser.add_argument(
        "--head",
        action="append",
        type=_head,
        metavar="NAME=TASK:LABELS",
        help="a head of a model with several, instead of --task and --labels; LABELS are L,L,.. or @FILE, one per line",
    )
    parser.add_argument(
        "--head-option",
        action="append",
        type=_head_option,
        metavar="NAME.OPTION=VALUE",
        help=f"an option of one head: {', '.join(map(_flag, _OPTIONS))}",
    )


def read_head_flags(options: argparse.Namespace) -> dict[str, HeadSpec] | None:
    """Return the heads by name; None if the command names none.

    Raises:
        InputError: a head is named twice, or an option belongs to none.
        CheckpointError: a file of labels cannot be read.
    """
    given: Sequence[tuple[str, str, str]] = options.head or ()
    settings: dict[str, dict[str, Any]] = {
        name: {"task": task, "labels": _labels(labels)} for name, task, labels in given
    }
    if len(settings) < len(given):
        raise InputError(f"--head names a head twice: {', '.join(name for name, _, _ in given)}.")
    for name, option, value in options.head_option or ():
        if name not in settings:
            raise InputError(f"--head-option {name}.{_flag(option)}: there is no --head {name}.")
        settings[name][option] = value
    return {name: HeadSpec(**fields) for name, fields in settings.items()} or None


def _flag(option: str) -> str:
    return option.replace("_", "-")


def _head(text: str) -> tuple[str, str, str]:
    """Parse ``name=task:labels``."""
    name, _, rest = text.partition("=")
    task, _, labels = rest.partition(":")
    if not name or task not in HEAD_TASKS:
        raise argparse.ArgumentTypeError(
            f"expected NAME=TASK:LABELS with one of the tasks {', '.join(HEAD_TASKS)}, got {text!r}"
        )
    if labels and not labels.startswith("@"):
        split_labels(labels)  # an error of the flag
    return name, task, labels


def _head_option(text: str) -> tuple[str, str, Any]:
    """Parse ``name.option=value``."""
    key, equals, value = text.partition("=")
    name, _, flag = key.rpartition(".")
    option = flag.replace("-", "_")
    if not name or not equals or option not in _OPTIONS or (option == "multi_label" and value not in _SWITCH):
        raise argparse.ArgumentTypeError(
            f"expected NAME.OPTION=VALUE with one of the options {', '.join(map(_flag, _OPTIONS))} (multi-label is "
            f"true or false), got {text!r}"
        )
    return name, option, _SWITCH[value] if option == "multi_label" else value


def split_labels(text: str) -> tuple[str, ...]:
    """Parse ``L,L,..``; an empty label is an error, because the labels after it would belong to other classes."""
    labels = tuple(label.strip() for label in text.split(","))
    if not all(labels):
        raise argparse.ArgumentTypeError(f"expected labels like O,B-PER,I-PER, none of them empty, got {text!r}")
    return labels


def _labels(text: str) -> tuple[str, ...]:
    if text.startswith("@"):
        return tuple(read_labels(Path(text[1:])))
    return split_labels(text) if text else ()
