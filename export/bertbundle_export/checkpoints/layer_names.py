"""Compare names of Keras layers whatever else was built before them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

__all__ = ["renumber"]

_NUMBERED = re.compile(r"(.+?)_([1-9]\d*)")


def renumber(names: Iterable[str]) -> dict[str, str]:
    """Number layers anew, as if their model were the first of its process; gives the new name of each.

    Keras calls a process's third Dense ``dense_2``, whichever model it is part of. Its order is kept.

    >>> renumber(["dense_7.weight", "dense_9.weight", "bert.encoder.layer.0.weight"])
    {'dense_7.weight': 'dense.weight', 'dense_9.weight': 'dense#1.weight', \
'bert.encoder.layer.0.weight': 'bert.encoder.layer.0.weight'}
    """
    split = {name: name.split(".") for name in names}
    siblings: dict[tuple[str, ...], set[int]] = defaultdict(set)
    for parts in split.values():
        for depth in range(len(parts) - 1):
            key, number = _number(parts, depth)
            siblings[key].add(number)
    ranks = {key: {number: rank for rank, number in enumerate(sorted(found))} for key, found in siblings.items()}

    def renamed(parts: list[str], depth: int) -> str:
        key, number = _number(parts, depth)
        rank = ranks[key][number]
        return f"{key[-1]}#{rank}" if rank else key[-1]

    return {
        name: ".".join([*(renamed(parts, depth) for depth in range(len(parts) - 1)), parts[-1]])
        for name, parts in split.items()
    }


def _number(parts: list[str], depth: int) -> tuple[tuple[str, ...], int]:
    """Split a name's part into its path without the number, and the number."""
    match = _NUMBERED.fullmatch(parts[depth])
    stem, number = (match[1], int(match[2])) if match else (parts[depth], 0)
    return (*parts[:depth], stem), number
