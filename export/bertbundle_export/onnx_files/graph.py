"""Small work on ONNX graphs: names, order of nodes, weights in a file of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle_export.encoder.weights import Weight, as_array

__all__ = ["insert_nodes", "keep_only", "rename", "write_weights"]

_ALIGNMENT = 4096  # a page: runtimes map the file into memory
_INLINE = 1024  # bytes; smaller arrays stay in the graph, where runtimes may fold them


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
    """Insert nodes into a GraphProto whose nodes read and make what they are renamed to; keeps the order valid."""
    _rename_nodes(nodes, names)
    ordered = _in_order([*nodes, *graph.node])
    del graph.node[:]
    graph.node.extend(ordered)


def _in_order(nodes: list[Any]) -> list[Any]:
    """Sort nodes so that each comes after those it reads from."""
    maker = {name: index for index, node in enumerate(nodes) for name in node.output}
    waits = [{maker[name] for name in _read_by(node) if name in maker} for node in nodes]
    readers: dict[int, list[int]] = {}
    for index, makers in enumerate(waits):
        for made in makers:
            readers.setdefault(made, []).append(index)
    ready = [index for index, makers in enumerate(waits) if not makers]
    for index in ready:
        for reader in readers.get(index, ()):
            waits[reader].discard(index)
            if not waits[reader]:
                ready.append(reader)
    return [nodes[index] for index in ready]


def keep_only(graph: Any, outputs: Sequence[str]) -> None:
    """Make tensors of a GraphProto its only outputs, float32 vectors, and remove the nodes that they do not need."""
    from onnx import TensorProto, helper

    needed, kept = set(outputs), []
    for node in reversed(graph.node):
        if needed & {*node.output}:
            needed.update(_read_by(node))
            kept.append(node)
    kept.reverse()
    del graph.node[:], graph.output[:]
    graph.node.extend(kept)
    graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None]) for name in outputs)


def _read_by(node: Any) -> Iterable[str]:
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _read_by(inner)


def write_weights(path: Path, weights: Mapping[str, Weight]) -> list[Any]:
    """Write weights to a file, and return TensorProtos that refer to it; small ones are held by the TensorProtos."""
    from onnx import numpy_helper

    tensors = []
    with path.open("wb") as file:
        for name, weight in weights.items():
            value = as_array(weight)
            if value.nbytes <= _INLINE:
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
