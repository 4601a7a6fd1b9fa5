"""Read Keras' .h5 files without Keras: the variables, and the layers if the file has the whole model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bertbundle_export.checkpoints.base import StateDict
from bertbundle_export.errors import CheckpointError

__all__ = [
    "KerasFile",
    "KerasLayer",
    "Shapes",
    "describe_h5",
    "is_h5",
    "layers_before",
    "parse_layers",
    "parse_outputs",
    "read_datasets",
    "read_h5",
]

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
_Variables: TypeAlias = Mapping[tuple[str, str], Any]  # by layer group and name

_MAGIC = b"\x89HDF\r\n\x1a\n"
# The exceptions that h5py raises for a damaged file.
_H5_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, UnicodeError, OverflowError, MemoryError)


@dataclass(frozen=True, slots=True)
class KerasLayer:
    """A layer of a stored model.

    Attributes:
        kind: name of its class.
        config: its settings.
        sources: its inputs: the name of a layer, and the index of that layer's output.
        arguments: the arguments of its call that have a name: keyword arguments, or the items of a dict of inputs.
    """

    kind: str
    config: Mapping[str, Any]
    sources: tuple[tuple[str, int], ...]
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class KerasFile:
    """The content of a file, without the values.

    Attributes:
        path: its path.
        shapes: shape of every variable by name, without ``:0`` and without the scope.
        scope: name of a subclassed model, such as ``tf_bert_for_token_classification``; empty for a functional model.
        layers: the model's layers by name; empty if the file has weights only.
        outputs: the layer that returns each of the model's outputs, by the output's key in a dict, or by the layer's
            name if the outputs are a list.
    """

    path: Path
    shapes: Shapes
    scope: str
    layers: Mapping[str, KerasLayer]
    outputs: Mapping[str, str] = field(default_factory=dict)


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
        CheckpointError: the file is not h5 or is damaged.
    """
    shapes, model_config = _read_variables(path, lambda item: tuple(item.shape))
    scope = _scope(shapes)
    layers, outputs = parse_layers(model_config, path), parse_outputs(model_config)
    return KerasFile(path, _without_scope(path, shapes, scope), scope, layers, outputs)


def read_h5(path: Path) -> StateDict:
    """Read every variable of a file, by the names of `describe_h5`; floats become float32.

    Raises:
        CheckpointError: the file is not h5 or is damaged, or a variable has values that are not finite.
    """
    stored, _ = _read_variables(path, np.asarray)
    values = _without_scope(path, stored, _scope(stored))
    return {name: _check_finite(path, name, value) for name, value in values.items()}


def _check_finite(path: Path, name: str, value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if value.dtype.kind != "f":
        return value
    if not np.isfinite(value).all():
        raise CheckpointError(f"{path} has values in {name} that are not finite. Save or download it again.")
    return value.astype(np.float32)


def read_datasets(source: Any, path: Path) -> StateDict:
    """Read every variable of an h5 file by its full path in the file; floats become float32.

    Args:
        source: a path or a binary file object.
        path: the file, for the message.

    Raises:
        CheckpointError: the file is not h5 or is damaged, or a variable has values that are not finite.
    """
    values, _ = _visit(source, path, np.asarray)
    return {name: _check_finite(path, name, value) for name, value in values.items()}


def _read_variables(path: Path, read: Callable[[Any], Any]) -> tuple[_Variables, str | None]:
    """Apply a function to each variable; return the results by layer group and name, and the model_config."""
    found, model_config = _visit(path, path, read)
    return {_split(name): value for name, value in found.items()}, model_config


def _visit(source: Any, path: Path, read: Callable[[Any], Any]) -> tuple[dict[str, Any], str | None]:
    """Apply a function to each dataset of an h5 file; return the results by path in the file, and the model_config."""
    import h5py

    if path.is_dir():
        raise CheckpointError(f"{path} is a directory, expected an .h5 file. Give the file.")
    try:
        with h5py.File(source) as file:
            stored = file.attrs.get("model_config")
            found = {name: read(item) for name, item in _datasets(file.get("model_weights", file))}
        return found, stored.decode() if isinstance(stored, bytes) else stored
    except _H5_ERRORS as error:
        raise CheckpointError(
            f"{path} cannot be read as h5, it is truncated or damaged: {error}. Download it again."
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


def _scope(variables: _Variables) -> str:
    """Return the name of the subclassed model of all layers: ``model/dense/kernel`` in the group ``dense``."""
    parts = [(group, name.split("/")) for group, name in variables if "/" in name]
    scopes = {part[0] for group, part in parts if part[0] != group and part[1] == group}
    contains_all = len(scopes) == 1 and all(part[0] in scopes for _, part in parts)
    return scopes.pop() if contains_all else ""


def _without_scope(path: Path, variables: _Variables, scope: str) -> dict[str, Any]:
    names = [name.removeprefix(f"{scope}/") if scope else name for _, name in variables]
    duplicates = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if duplicates:
        raise CheckpointError(
            f"{path} has more than one variable called {', '.join(duplicates[:5])}. Give each layer a unique name."
        )
    return dict(zip(names, variables.values(), strict=True))


# ---- layers


def parse_layers(model_config: str | None, path: Path) -> dict[str, KerasLayer]:
    """Return the layers in the stored configuration of a functional model by name; empty if it has weights only.

    Raises:
        CheckpointError: the configuration is damaged.
    """
    if model_config is None:
        return {}
    try:
        config = json.loads(model_config)["config"]
        layers = config.get("layers", []) if isinstance(config, dict) else []
        items = {item["config"].get("name") or item["name"]: item for item in layers}
        shared = {
            name: list(_calls(item.get("inbound_nodes", []))) for name, item in items.items() if _is_dropout(item)
        }
        return {name: _layer(item, shared) for name, item in items.items()}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} has a model_config that cannot be read: {error!r}. Download it again."
        ) from error


def parse_outputs(model_config: str | None) -> dict[str, str]:
    """Return the layer of each output in a configuration that `parse_layers` accepts; see `KerasFile.outputs`."""
    config = json.loads(model_config)["config"] if model_config else None
    outputs = config.get("output_layers") if isinstance(config, dict) else None
    if isinstance(outputs, dict):
        return {key: call[0] for key, value in outputs.items() for call in _calls(value)}
    return {call[0]: call[0] for call in _calls(outputs)}


def layers_before(layers: Mapping[str, KerasLayer], name: str) -> set[str]:
    """Return the names of a layer and of all layers that its output depends on."""
    found: set[str] = set()
    remaining = [name]
    while remaining:
        layer = remaining.pop()
        if layer in layers and layer not in found:
            found.add(layer)
            named = [value[0] for value in layers[layer].arguments.values() if isinstance(value, list) and value]
            remaining += [source for source, _ in layers[layer].sources]
            remaining += [source for source in named if isinstance(source, str)]
    return found


def _is_dropout(item: Mapping[str, Any]) -> bool:
    return str(item["class_name"]) == "Dropout"


def _layer(item: Mapping[str, Any], dropouts: Mapping[str, list[list[Any]]]) -> KerasLayer:
    """Parse a layer; what reads one of several calls of a Dropout reads what this call reads."""
    nodes = item.get("inbound_nodes", [])
    calls = list(_calls(nodes))
    arguments: Mapping[str, Any] = next((call[3] for call in calls if len(call) > 3), {})
    return KerasLayer(
        kind=str(item["class_name"]).rpartition(">")[2],
        config=item["config"],
        sources=tuple(_source(call, dropouts) for call in calls),
        arguments={**_named_inputs(nodes), **arguments},
    )


def _source(call: list[Any], dropouts: Mapping[str, list[list[Any]]]) -> tuple[str, int]:
    """Return the layer that a call ``[layer, node, output, ...]`` reads, and the index of that layer's output."""
    for _ in dropouts:  # not until there is none: a damaged file may have a cycle
        if len(dropouts.get(call[0], ())) > 1:
            call = dropouts[call[0]][call[1]]
    return call[0], call[2]


def _named_inputs(nodes: Any) -> Mapping[str, Any]:
    """Return the items of ``[{"input_ids": [layer, node, output, {}], ...}]``: a layer called on a dict of inputs."""
    first = nodes[0] if isinstance(nodes, list) and nodes else None
    return first if isinstance(first, dict) and "args" not in first else {}


def _calls(nodes: Any) -> Iterator[list[Any]]:
    """Yield each ``[layer, node, output, arguments]``: versions of Keras nest them in different lists and dicts."""
    if isinstance(nodes, dict):
        nodes = list(nodes.values())
    if not isinstance(nodes, list):
        return
    if nodes and isinstance(nodes[0], str) and all(isinstance(item, int) for item in nodes[1:3]):
        yield nodes
        return
    yield from (call for item in nodes for call in _calls(item))
