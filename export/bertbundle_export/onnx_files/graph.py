"""Edit ONNX graphs: names, order of nodes, weights in an external file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle_export.encoder.weights import Weight, as_array

__all__ = ["insert_nodes", "rename", "write_weights"]

_ALIGNMENT = 4096  # a page: runtimes map the file into memory
_MAX_INLINE = 1024  # bytes; smaller arrays are stored in the graph, where runtimes may fold them


def rename(graph: Any, names: Mapping[str, str]) -> None:
    """Rename tensors of a GraphProto wherever they are used."""
    for value in (*graph.input, *graph.output):
        value.name = names.get(value.name, value.name)
    _rename_nodes(graph.node, names)


def _rename_nodes(nodes: Iterable[Any], names: Mapping[str, str]) -> None:
    for node in nodes:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for attribute in node.attribute:
            _rename_nodes(attribute.g.node, names)  # a loop's body may read the outer graph's tensors


def insert_nodes(graph: Any, nodes: list[Any], names: Mapping[str, str]) -> None:
    """Insert nodes into a GraphProto, with their tensors renamed to the graph's, in a valid order."""
    _rename_nodes(nodes, names)
    ordered = _sort([*nodes, *graph.node])
    del graph.node[:]
    graph.node.extend(ordered)


def _sort(nodes: list[Any]) -> list[Any]:
    """Sort nodes topologically: each comes after those that it reads from."""
    producer = {name: index for index, node in enumerate(nodes) for name in node.output}
    pending = [{producer[name] for name in _inputs_of(node) if name in producer} for node in nodes]
    readers: dict[int, list[int]] = {}
    for index, producers in enumerate(pending):
        for source in producers:
            readers.setdefault(source, []).append(index)
    ready = [index for index, producers in enumerate(pending) if not producers]
    for index in ready:
        for reader in readers.get(index, ()):
            pending[reader].discard(index)
            if not pending[reader]:
                ready.append(reader)
    return [nodes[index] for index in ready]


def _inputs_of(node: Any) -> Iterable[str]:
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _inputs_of(inner)


def write_weights(path: Path, weights: Mapping[str, Weight]) -> list[Any]:
    """Write weights to a file and return TensorProtos that refer to it; these contain small weights themselves."""
    from onnx import numpy_helper

    tensors = []
    with path.open("wb") as file:
        for name, weight in weights.items():
            value = as_array(weight)
            if value.nbytes <= _MAX_INLINE:
                tensors.append(numpy_helper.from_array(value, name))
                continue
            file.seek(-file.tell() % _ALIGNMENT, 1)
            tensors.append(_external(name, value, path.name, file.tell()))
            file.write(np.ascontiguousarray(value).data)
    return tensors


def _external(name: str, value: npt.NDArray[Any], file: str, offset: int) -> Any:
    from onnx import TensorProto, helper

    tensor = TensorProto(name=name, dims=value.shape, data_type=helper.np_dtype_to_tensor_dtype(value.dtype))
    tensor.data_location = TensorProto.EXTERNAL
    for key, entry in {"location": file, "offset": str(offset), "length": str(value.nbytes)}.items():
        tensor.external_data.add(key=key, value=entry)
    return tensor
