"""Open Keras' .h5 files without Keras: the variables of weights or of a whole model, and the layers of the latter."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bertbundle_export.checkpoints.base import StateDict
from bertbundle_export.errors import CheckpointError

__all__ = ["KerasFile", "Layer", "Shapes", "describe_h5", "is_h5", "parse_layers", "read_datasets", "read_h5"]

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]

_MAGIC = b"\x89HDF\r\n\x1a\n"
# h5py raises whichever of these a damaged file runs it into.
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, UnicodeError, OverflowError, MemoryError)


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of a stored model.

    Attributes:
        kind: name of its class.
        config: its settings.
        reads: what it is called on: name of a layer, and which of that layer's outputs.
        arguments: what else it is called with.
    """

    kind: str
    config: Mapping[str, Any]
    reads: tuple[tuple[str, int], ...]
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class KerasFile:
    """What a file holds, without the values.

    Attributes:
        path: where it is.
        shapes: of every variable by its name, without ``:0`` and without the name of the model around it.
        scope: that name, as ``tf_bert_for_token_classification``; empty for a functional model.
        layers: the model's layers by name; none if the file has weights alone.
    """

    path: Path
    shapes: Shapes
    scope: str
    layers: Mapping[str, Layer]


def is_h5(path: Path) -> bool:
    """Return whether a file is HDF5, by its first bytes."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def describe_h5(path: Path) -> KerasFile:
    """Read the names, the shapes and the layers of a file.

    Raises:
        CheckpointError: not an h5 file, or a damaged one.
    """
    found, stored = _visit(path, lambda item: tuple(item.shape))
    scope = _scope(found)
    return KerasFile(path, _without_scope(path, found, scope), scope, parse_layers(stored, path))


def read_h5(path: Path) -> StateDict:
    """Read every variable of a file by its name as `describe_h5` gives it; floats become float32.

    Raises:
        CheckpointError: not an h5 file, a damaged one, or a variable with values that are no numbers.
    """
    found, _ = _visit(path, np.asarray)
    values = _without_scope(path, found, _scope(found))
    return {name: _checked(path, name, value) for name, value in values.items()}


def _checked(path: Path, name: str, value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if value.dtype.kind != "f":
        return value
    if not np.isfinite(value).all():
        raise CheckpointError(f"{path} has values in {name} that are not finite. Save or fetch it again.")
    return value.astype(np.float32)


_Found: TypeAlias = dict[tuple[str, str], Any]


def read_datasets(source: Any, path: Path) -> StateDict:
    """Read every variable of an open h5 file by its whole name; floats become float32.

    Args:
        source: what h5py opens.
        path: what the message calls it.

    Raises:
        CheckpointError: not an h5 file, a damaged one, or a variable with values that are no numbers.
    """
    found, _ = _open(source, path, np.asarray)
    return {name: _checked(path, name, value) for name, value in found.items()}


def _visit(path: Path, take: Callable[[Any], Any]) -> tuple[_Found, str | None]:
    """Return what is taken of each variable, by its layer's group and its name, and the model_config."""
    found, stored = _open(path, path, take)
    return {_split(name): value for name, value in found.items()}, stored


def _open(source: Any, path: Path, take: Callable[[Any], Any]) -> tuple[dict[str, Any], str | None]:
    import h5py

    if path.is_dir():
        raise CheckpointError(f"{path} is a directory, expected an .h5 file. Name the file.")
    try:
        with h5py.File(source) as file:
            stored = file.attrs.get("model_config")
            found = {name: take(item) for name, item in _datasets(file.get("model_weights", file))}
        return found, stored.decode() if isinstance(stored, bytes) else stored
    except _DAMAGE as error:
        raise CheckpointError(
            f"{path} cannot be read as h5, it is cut off or damaged: {error}. Fetch it again."
        ) from error


def _datasets(root: Any) -> Iterator[tuple[str, Any]]:
    import h5py

    found: list[tuple[str, Any]] = []
    root.visititems(lambda name, item: found.append((name, item)) if isinstance(item, h5py.Dataset) else None)
    return iter(found)


def _split(name: str) -> tuple[str, str]:
    """Split ``dense/dense/kernel:0`` into the layer's group in the file and the variable's name."""
    group, _, variable = name.partition("/")
    return group, (variable or group).removesuffix(":0")


def _scope(found: Mapping[tuple[str, str], Any]) -> str:
    """Return the name of the subclassed model around all layers: ``model/dense/kernel`` in the group ``dense``."""
    parts = [(group, name.split("/")) for group, name in found if "/" in name]
    scopes = {part[0] for group, part in parts if part[0] != group and part[1] == group}
    around_all = len(scopes) == 1 and all(part[0] in scopes for _, part in parts)
    return scopes.pop() if around_all else ""


def _without_scope(path: Path, found: Mapping[tuple[str, str], Any], scope: str) -> dict[str, Any]:
    names = [name.removeprefix(f"{scope}/") if scope else name for _, name in found]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise CheckpointError(f"{path} has more than one variable called {', '.join(twice[:5])}. Give layers names.")
    return dict(zip(names, found.values(), strict=True))


# ---- the layers of a whole model


def parse_layers(stored: str | None, path: Path) -> dict[str, Layer]:
    """Return the layers of a functional model's stored configuration by name; none for weights alone.

    Raises:
        CheckpointError: the configuration is damaged.
    """
    if stored is None:
        return {}
    try:
        config = json.loads(stored)["config"]
        layers = config.get("layers", []) if isinstance(config, dict) else []
        return {item["config"].get("name") or item["name"]: _layer(item) for item in layers}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} has a model_config that cannot be read: {error!r}. Fetch it again.") from error


def _layer(item: Mapping[str, Any]) -> Layer:
    calls = list(_calls(item.get("inbound_nodes", [])))
    arguments: Mapping[str, Any] = next((call[3] for call in calls if len(call) > 3), {})
    return Layer(
        kind=str(item["class_name"]).rpartition(">")[2],
        config=item["config"],
        reads=tuple((call[0], call[2]) for call in calls),
        arguments=arguments,
    )


def _calls(nodes: Any) -> Iterator[list[Any]]:
    """Find ``[layer, node, output, arguments]`` in whatever lists and dicts a version of Keras nests them in."""
    if isinstance(nodes, dict):
        nodes = list(nodes.values())
    if not isinstance(nodes, list):
        return
    if nodes and isinstance(nodes[0], str) and all(isinstance(item, int) for item in nodes[1:3]):
        yield nodes
        return
    yield from (call for item in nodes for call in _calls(item))
