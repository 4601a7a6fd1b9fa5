"""Tables that translate a package's variable names to PyTorch's."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

__all__ = ["Rename", "dense_rows", "norm_rows", "rename_by"]

Rename: TypeAlias = Callable[[str], str | None]
"""Return PyTorch's name of a variable, or None if it is not BERT's."""


def rename_by(rows: Mapping[str, str], *, first: int = 0) -> Rename:
    """Return a function that translates a variable's name by a table.

    Args:
        rows: PyTorch's name by the package's, with ``{n}`` for the number of a layer in both.
        first: the number of the package's first layer.
    """
    patterns = [(re.compile(re.escape(name).replace(r"\{n\}", r"(\d+)")), pytorch) for name, pytorch in rows.items()]

    def rename(name: str) -> str | None:
        for pattern, pytorch in patterns:
            match = pattern.fullmatch(name)
            if match:
                return pytorch.format(n=int(match[1]) - first if match.groups() else "")
        return None

    return rename


def dense_rows(name: str, pytorch: str) -> dict[str, str]:
    """Return the rows of a Dense layer."""
    return {f"{name}/kernel": f"{pytorch}.weight", f"{name}/bias": f"{pytorch}.bias"}


def norm_rows(name: str, pytorch: str) -> dict[str, str]:
    """Return the rows of a LayerNormalization."""
    return {f"{name}/gamma": f"{pytorch}.weight", f"{name}/beta": f"{pytorch}.bias"}
