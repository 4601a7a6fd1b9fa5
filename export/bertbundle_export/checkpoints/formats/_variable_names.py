"""Tables that translate a package's variable names to PyTorch's."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from bertbundle_export.checkpoints.layer_names import normalize_layer_names

__all__ = ["Rename", "bert_sizes", "dense_rows", "norm_rows", "number_layers", "rename_by"]

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


def number_layers(names: Mapping[str, str]) -> dict[str, str]:
    """Return names with the layers of each scope numbered from 0: ``layer/dense_7`` and ``layer/dense_8`` become
    ``layer/dense`` and ``layer/dense#1``.

    Args:
        names: names of variables, by any keys.
    """
    normalized = normalize_layer_names(name.replace("/", ".") for name in names.values())
    return {key: normalized[name.replace("/", ".")].replace(".", "/") for key, name in names.items()}


def bert_sizes(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Return the sizes of a BERT by their names in config.json, read from the shapes of its variables.

    Args:
        shapes: shapes in Keras' layout, by PyTorch's names of the variables.
    """
    layers = [int(match[1]) for name in shapes if (match := re.match(r"bert\.encoder\.layer\.(\d+)\.", name))]
    dimensions = {
        "vocab_size": ("embeddings.word_embeddings.weight", 0),
        "hidden_size": ("embeddings.word_embeddings.weight", 1),
        "max_position_embeddings": ("embeddings.position_embeddings.weight", 0),
        "type_vocab_size": ("embeddings.token_type_embeddings.weight", 0),
        "intermediate_size": ("encoder.layer.0.intermediate.dense.weight", 1),
    }
    found = {key: (shapes.get(f"bert.{name}", ()), axis) for key, (name, axis) in dimensions.items()}
    sizes = {key: shape[axis] for key, (shape, axis) in found.items() if len(shape) == 2}
    return {"num_hidden_layers": max(layers, default=-1) + 1, "type_vocab_size": 2, **sizes}


def dense_rows(name: str, pytorch: str) -> dict[str, str]:
    """Return the rows of a Dense layer."""
    return {f"{name}/kernel": f"{pytorch}.weight", f"{name}/bias": f"{pytorch}.bias"}


def norm_rows(name: str, pytorch: str) -> dict[str, str]:
    """Return the rows of a LayerNormalization."""
    return {f"{name}/gamma": f"{pytorch}.weight", f"{name}/beta": f"{pytorch}.bias"}
