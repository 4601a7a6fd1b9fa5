"""Detach the weights from a traced function's graph: placeholders replace them.

Converters copy a graph many times; with the weights of a BERT-base as constants, each copy takes 400 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle_export.encoder.extraction import ExtractedCall, extract_calls
from bertbundle_export.encoder.tf_graph import EncoderGraph

__all__ = ["DetachedGraph", "detach_weights", "freeze_and_detach"]

Weights = dict[str, npt.NDArray[Any]]
_MAX_KEPT_CONSTANT = 4096  # bytes; small constants are kept: a converter must know shapes and axes


@dataclass(frozen=True, slots=True)
class DetachedGraph:
    """A graph without weights.

    Attributes:
        graph_def: has a placeholder for every variable and large constant.
        weights: float32 arrays by the names of their placeholder tensors.
        calls: the encoder calls that were extracted; their weights are not among `weights`.
    """

    graph_def: Any
    weights: Weights
    calls: Sequence[ExtractedCall] = ()


# ---- variables that the main graph reads: placeholders replace them in place, nothing is copied


def detach_weights(function: Any, encoders: Sequence[EncoderGraph] = ()) -> DetachedGraph | None:
    """Detach the weights, and extract the encoder calls, from a concrete function's graph.

    Returns:
        The rest of the graph; None if a variable is used in an unsupported way, such as inside a loop.
    """
    from bertbundle_export.tensorflow_import import tf

    graph_def = function.graph.as_graph_def()
    calls = extract_calls(graph_def, encoders)
    captured = _captured(function)
    _drop(graph_def, captured.keys() - _used(graph_def))
    present = captured.keys() & _names(graph_def)
    if any(captured[name].dtype != tf.float32 for name in present):
        return None
    # A captured tensor is a constant of the model and is used directly; only variables have read operations.
    variables = {name for name in present if isinstance(captured[name], tf.Variable)}
    weights: Weights = {}
    added = []
    for node in graph_def.node:
        names = {name.split(":")[0].removeprefix("^") for name in node.input} & variables
        if node.name in present:
            weights[f"{node.name}:0"] = _to_placeholder(node, captured[node.name])
        elif names and node.op not in _READ_OPS:
            return None
        elif names:
            added += _READ_OPS[node.op](node)
    graph_def.node.extend(added)
    _keep_loops(graph_def)
    return DetachedGraph(graph_def, weights | _detach_constants(graph_def), calls)


def _captured(function: Any) -> dict[str, Any]:
    """Return each captured variable or tensor by the name of its placeholder."""
    variables = {id(variable.handle): variable for variable in function.graph.variables}
    return {inner.op.name: variables.get(id(outer), outer) for outer, inner in function.graph.captures}


def _names(graph_def: Any) -> set[str]:
    return {node.name for node in graph_def.node}


def _used(graph_def: Any) -> set[str]:
    return {name.split(":")[0].removeprefix("^") for node in graph_def.node for name in node.input}


def _drop(graph_def: Any, names: set[str]) -> None:
    kept = [node for node in graph_def.node if node.name not in names]
    del graph_def.node[:]
    graph_def.node.extend(kept)


def _to_placeholder(node: Any, variable: Any) -> npt.NDArray[Any]:
    node.op = "Placeholder"  # a small constant that a functional model captured is a Const
    node.attr["dtype"].type = variable.dtype.as_datatype_enum
    node.attr["shape"].shape.CopyFrom(variable.shape.as_proto())
    for key in [key for key in node.attr if key not in ("dtype", "shape")]:
        del node.attr[key]
    value: npt.NDArray[Any] = variable.numpy()
    return value


def _read_to_identity(node: Any) -> list[Any]:
    """Convert a ReadVariableOp to an Identity of the placeholder."""
    dtype = node.attr["dtype"].type
    node.op = "Identity"
    node.attr.clear()
    node.attr["T"].type = dtype
    return []


def _gather_to_gather(node: Any) -> list[Any]:
    """Convert a ResourceGather to a GatherV2 along the first axis; return the node of the axis."""
    from bertbundle_export.tensorflow_import import tf

    dtype, indices, batch_dims = node.attr["dtype"].type, node.attr["Tindices"].type, node.attr["batch_dims"].i
    axis = tf.compat.v1.NodeDef(name=f"{node.name}/detached_axis", op="Const")
    axis.attr["dtype"].type = tf.int32.as_datatype_enum
    axis.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(batch_dims, tf.int32))
    node.op = "GatherV2"
    node.input.insert(2, axis.name)
    node.attr.clear()
    node.attr["Tparams"].type = dtype
    node.attr["Tindices"].type = indices
    node.attr["Taxis"].type = tf.int32.as_datatype_enum
    node.attr["batch_dims"].i = batch_dims
    return [axis]


_READ_OPS: Mapping[str, Callable[[Any], list[Any]]] = {
    "ReadVariableOp": _read_to_identity,
    "ResourceGather": _gather_to_gather,
}


def _keep_loops(graph_def: Any) -> None:
    """Keep functional loops: tf2onnx cannot convert the switches and merges that they would be lowered to."""
    for node in graph_def.node:
        if "_lower_using_switch_merge" in node.attr:
            node.attr["_lower_using_switch_merge"].b = False


# ---- any other graph: TensorFlow freezes the variables, then the large constants are detached


def freeze_and_detach(function: Any) -> DetachedGraph:
    """Detach the weights from the graph of any concrete function, by freezing its variables to constants."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    frozen = convert_variables_to_constants_v2(function, lower_control_flow=False, aggressive_inlining=True)
    graph_def = frozen.graph.as_graph_def()
    return DetachedGraph(graph_def, _detach_constants(graph_def))


def _detach_constants(graph_def: Any) -> Weights:
    """Replace the large float constants of a graph with placeholders, and return their values."""
    from bertbundle_export.tensorflow_import import tf

    weights: Weights = {}
    for node in graph_def.node:
        if node.op != "Const" or node.attr["dtype"].type != tf.float32.as_datatype_enum:
            continue
        tensor = node.attr["value"].tensor
        if tensor.ByteSize() <= _MAX_KEPT_CONSTANT:
            continue
        weights[f"{node.name}:0"] = np.asarray(tf.make_ndarray(tensor))
        node.op = "Placeholder"
        node.attr["shape"].shape.CopyFrom(tensor.tensor_shape)
        del node.attr["value"]
    return weights
