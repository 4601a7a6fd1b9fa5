"""Normalize the names of Keras layers, which depend on what was built before them in the same process."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

__all__ = ["normalize_layer_names"]

_NUMBERED = re.compile(r"(.+?)_([1-9]\d*)")


def normalize_layer_names(names: Iterable[str]) -> dict[str, str]:
    """Return a new name for each weight, with the layers numbered as if their model were the first in the process.

    Keras calls the third Dense of a process ``dense_2``, in whichever model it is. The order of the layers is kept.

    >>> normalize_layer_names(["dense_7.weight", "dense_9.weight", "bert.encoder.layer.0.weight"])
    {'dense_7.weight': 'dense.weight', 'dense_9.weight': 'dense#1.weight', \
'bert.encoder.layer.0.weight': 'bert.encoder.layer.0.weight'}
    """
    split = {name: name.split(".") for name in names}
    siblings: dict[tuple[str, ...], set[int]] = defaultdict(set)
    for parts in split.values():
        for depth in range(len(parts) - 1):
            key, number = _number(parts, depth)
            siblings[key].add(number)
    ranks = {key: {number: rank for rank, number in enumerate(sorted(numbers))} for key, numbers in siblings.items()}

    def renamed(parts: list[str], depth: int) -> str:
        key, number = _number(parts, depth)
        rank = ranks[key][number]
        return f"{key[-1]}#{rank}" if rank else key[-1]

    return {
        name: ".".join([*(renamed(parts, depth) for depth in range(len(parts) - 1)), parts[-1]])
        for name, parts in split.items()
    }


def _number(parts: list[str], depth: int) -> tuple[tuple[str, ...], int]:
    """Split one part of a name into its path without the number, and the number."""
    match = _NUMBERED.fullmatch(parts[depth])
    stem, number = (match[1], int(match[2])) if match else (parts[depth], 0)
    return (*parts[:depth], stem), number
