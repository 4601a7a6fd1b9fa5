"""Write an encoder in float16, and compute such a file as a GPU does, on a CPU.

Weights, hidden states and all operations of the encoder are float16; its results and the head are float32. The ONNX
operators compute sums in float32: products, the mean and the variance of a normalization (``stash_type``), softmax.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle_export.encoder.onnx_nodes import OnnxEncoder
from bertbundle_export.encoder.weights import Weight, as_array
from bertbundle_export.errors import ExportError

__all__ = ["HalfEncoder", "half_weights", "write_rounding"]

_LARGEST = float(np.finfo(np.float16).max)


class HalfEncoder(OnnxEncoder):
    """An encoder in float16."""

    dtype = np.float16

    def result(self, state: str) -> str:
        """Add the conversion of a hidden state to float32."""
        from onnx import TensorProto

        name: str = self.add("Cast", state, to=TensorProto.FLOAT)
        return name


def half_weights(weights: Mapping[str, Weight]) -> dict[str, npt.NDArray[np.float16]]:
    """Return an encoder's weights in float16.

    Raises:
        ExportError: a weight is larger than float16's largest number, 65504.
    """
    halves: dict[str, npt.NDArray[np.float16]] = {}
    for name, weight in weights.items():
        values = as_array(weight)
        largest = float(np.abs(values).max(initial=0.0))
        if largest > _LARGEST:
            raise ExportError(
                f"precision float16 is not possible: the encoder's weight {name} has the value {largest:g}, float16 "
                f"ends at {_LARGEST:g}. Export with --precision float32."
            )
        halves[name] = values.astype(np.float16)
    return halves


# ---- float16 on a CPU


def write_rounding(path: Path, target: Path) -> None:
    """Write a copy of a file in float16 that computes in float32 and rounds every result to float16.

    onnxruntime's provider for CPUs computes operators without a kernel for float16 in float32, and does not round
    between two of them: values beyond 65504 would not become infinite. It keeps conversions that are in the file.

    Args:
        path: the file in float16.
        target: the copy, in the same directory because it reads the same file of weights.
    """
    import onnx

    proto = onnx.load(str(path), load_external_data=False)
    halves = {tensor.name for tensor in proto.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT16}
    nodes = [_cast(f"{name}:half", name, onnx.TensorProto.FLOAT) for name in sorted(halves)]
    for tensor in proto.graph.initializer:
        tensor.name = f"{tensor.name}:half" if tensor.name in halves else tensor.name
    for node in proto.graph.node:
        nodes += _with_rounding(node, halves)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    target.write_bytes(proto.SerializeToString())


def _with_rounding(node: Any, halves: set[str]) -> list[Any]:
    """Return a node and the conversions that round its float16 results, whose names are added to `halves`."""
    from onnx import TensorProto

    nodes = [node]
    is_half = node.op_type in (
        "Constant",
        "Cast",
    )  # these two return float16; others compute in the type of their inputs
    for index in _half_results(node, halves):
        name = node.output[index]
        halves.add(name)
        node.output[index] = f"{name}:half" if is_half else f"{name}:exact"
        if not is_half:
            nodes.append(_cast(f"{name}:exact", f"{name}:half", TensorProto.FLOAT16))
        nodes.append(_cast(f"{name}:half", name, TensorProto.FLOAT))
    return nodes


def _half_results(node: Any, halves: set[str]) -> list[int]:
    """Return the indices of a node's float16 results."""
    from onnx import TensorProto

    attributes = {attribute.name: attribute for attribute in node.attribute}
    if node.op_type == "Constant":
        is_half = attributes["value"].t.data_type == TensorProto.FLOAT16 if "value" in attributes else False
    elif node.op_type == "Cast":
        is_half = attributes["to"].i == TensorProto.FLOAT16
    else:
        is_half = not halves.isdisjoint(node.input)
    integers = 1 if node.op_type == "EmbedLayerNormalization" else 0  # its second result is the mask's index
    return list(range(len(node.output) - integers)) if is_half else []


def _cast(source: str, result: str, dtype: int) -> Any:
    from onnx import helper

    return helper.make_node("Cast", [source], [result], name=f"{result}/rounding", to=dtype)
