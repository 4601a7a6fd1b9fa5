"""Take the weights out of a traced function's graph: placeholders stand for them.

Converters copy a graph many times over; with the weights of a BERT-base in it as constants each copy is 400 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle_export.encoder.extraction import Cut, cut_encoders
from bertbundle_export.encoder.tf_graph import EncoderGraph

__all__ = ["Detached", "detach_weights", "freeze_and_detach"]

Weights = dict[str, npt.NDArray[Any]]
_SMALL = 4096  # bytes; constants that small stay: shapes and axes that a converter must know


@dataclass(frozen=True, slots=True)
class Detached:
    """A graph without weights.

    Attributes:
        graph_def: has a placeholder for every variable and large constant.
        weights: float32 arrays by the name of the tensor they are to be fed to.
        cuts: the encoders that were cut out; of their weights there is no trace left.
    """

    graph_def: Any
    weights: Weights
    cuts: Sequence[Cut] = ()


# ---- variables that the graph itself reads: the placeholder takes the variable's place, nothing is copied


def detach_weights(function: Any, encoders: Sequence[EncoderGraph] = ()) -> Detached | None:
    """Take the weights, and encoders as a whole, out of a concrete function's graph.

    Returns:
        What remains; None if a variable is used in a way not known here, such as inside a loop.
    """
    from bertbundle_export.tensorflow_import import tf

    graph_def = function.graph.as_graph_def()
    cuts = cut_encoders(graph_def, encoders)
    captured = _captured(function)
    _drop(graph_def, captured.keys() - _used(graph_def))
    there = captured.keys() & _names(graph_def)
    if any(captured[name].dtype != tf.float32 for name in there):
        return None
    # A captured tensor, a constant of the model's, is used as it is; only a variable is read.
    variables = {name for name in there if isinstance(captured[name], tf.Variable)}
    weights: Weights = {}
    added = []
    for node in graph_def.node:
        names = {name.split(":")[0].removeprefix("^") for name in node.input} & variables
        if node.name in there:
            weights[f"{node.name}:0"] = _to_placeholder(node, captured[node.name])
        elif names and node.op not in _READS:
            return None
        elif names:
            added += _READS[node.op](node)
    graph_def.node.extend(added)
    _keep_loops(graph_def)
    return Detached(graph_def, weights | _take_constants(graph_def), cuts)


def _captured(function: Any) -> dict[str, Any]:
    """Return each captured variable, or tensor that is none, by the name of its placeholder."""
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
    node.attr["dtype"].type = variable.dtype.as_datatype_enum
    node.attr["shape"].shape.CopyFrom(variable.shape.as_proto())
    for key in [key for key in node.attr if key not in ("dtype", "shape")]:
        del node.attr[key]
    value: npt.NDArray[Any] = variable.numpy()
    return value


def _read_to_identity(node: Any) -> list[Any]:
    """Make a ReadVariableOp an Identity of the placeholder."""
    dtype = node.attr["dtype"].type
    node.op = "Identity"
    node.attr.clear()
    node.attr["T"].type = dtype
    return []


def _gather_to_gather(node: Any) -> list[Any]:
    """Make a ResourceGather a GatherV2 along the first axis; returns the axis."""
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


_READS: Mapping[str, Callable[[Any], list[Any]]] = {
    "ReadVariableOp": _read_to_identity,
    "ResourceGather": _gather_to_gather,
}


def _keep_loops(graph_def: Any) -> None:
    """Keep loops whole: tf2onnx converts functional loops, not the switches and merges they would be lowered to."""
    for node in graph_def.node:
        if "_lower_using_switch_merge" in node.attr:
            node.attr["_lower_using_switch_merge"].b = False


# ---- the general way: TensorFlow freezes, and the large constants are taken out again


def freeze_and_detach(function: Any) -> Detached:
    """Take the weights out of any concrete function's graph; its variables become constants first."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    frozen = convert_variables_to_constants_v2(function, lower_control_flow=False, aggressive_inlining=True)
    graph_def = frozen.graph.as_graph_def()
    return Detached(graph_def, _take_constants(graph_def))


def _take_constants(graph_def: Any) -> Weights:
    """Replace the large float constants of a graph by placeholders, and return their values."""
    from bertbundle_export.tensorflow_import import tf

    weights: Weights = {}
    for node in graph_def.node:
        if node.op != "Const" or node.attr["dtype"].type != tf.float32.as_datatype_enum:
            continue
        tensor = node.attr["value"].tensor
        if tensor.ByteSize() <= _SMALL:
            continue
        weights[f"{node.name}:0"] = np.asarray(tf.make_ndarray(tensor))
        node.op = "Placeholder"
        node.attr["shape"].shape.CopyFrom(tensor.tensor_shape)
        del node.attr["value"]
    return weights
