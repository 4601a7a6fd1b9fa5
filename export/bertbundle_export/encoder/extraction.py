"""Extract the encoder calls from a traced graph: what remains, the head, is small and easy to convert."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bertbundle_export.encoder.tf_graph import EncoderGraph

__all__ = ["ExtractedCall", "count_calls", "extract_calls"]


@dataclass(frozen=True, slots=True)
class ExtractedCall:
    """An encoder call that was extracted from a graph.

    Attributes:
        graph: the encoder.
        inputs: names of the tensors that it was called with: ids, mask, type ids.
        outputs: names of the placeholder tensors that replace its outputs.
    """

    graph: EncoderGraph
    inputs: tuple[str, str, str]
    outputs: tuple[str, ...]


def count_calls(graph_def: Any, encoders: Sequence[EncoderGraph]) -> int:
    """Return the number of encoder calls in the main graph, without those in inner functions and loops."""
    return sum(_callee(node, encoders) is not None for node in graph_def.node)


def extract_calls(graph_def: Any, encoders: Sequence[EncoderGraph]) -> list[ExtractedCall]:
    """Replace every encoder call with placeholders for its outputs; the GraphDef is changed in place."""
    callees = [(node, _callee(node, encoders)) for node in graph_def.node]
    call_nodes = [(node, encoder) for node, encoder in callees if encoder is not None]
    calls, placeholders = [], []
    renamed: dict[str, str] = {}
    for node, encoder in call_nodes:
        added = [_placeholder(node, index, encoder) for index in range(len(node.attr["Tout"].list.type))]
        renamed |= {_output_name(node.name, index): placeholder.name for index, placeholder in enumerate(added)}
        ids, mask, types = (_resolve_identity(graph_def, name) for name in node.input[:3])
        calls.append(ExtractedCall(encoder, (ids, mask, types), tuple(f"{item.name}:0" for item in added)))
        placeholders += added
    removed = {node.name for node, _ in call_nodes}
    kept = [_reconnect(node, renamed, removed) for node in graph_def.node if node.name not in removed]
    del graph_def.node[:]
    graph_def.node.extend([*placeholders, *kept])
    return calls


def _callee(node: Any, encoders: Sequence[EncoderGraph]) -> EncoderGraph | None:
    if node.op not in ("PartitionedCall", "StatefulPartitionedCall"):
        return None
    name = node.attr["f"].func.name
    return next((encoder for encoder in encoders if name in encoder.function_names), None)


def _placeholder(call: Any, index: int, encoder: EncoderGraph) -> Any:
    from bertbundle_export.tensorflow_import import tf

    node = tf.compat.v1.NodeDef(op="Placeholder", name=f"{call.name}_states_{index}")
    node.attr["dtype"].type = call.attr["Tout"].list.type[index]
    shape = tf.TensorShape([None, None, encoder.weights.hidden_size])
    node.attr["shape"].shape.CopyFrom(shape.as_proto())
    return node


def _output_name(name: str, index: int) -> str:
    return f"{name}:{index}" if index else name


def _resolve_identity(graph_def: Any, name: str) -> str:
    """Return the tensor behind any Identity nodes."""
    nodes = {node.name: node for node in graph_def.node}
    while nodes[name.partition(":")[0]].op == "Identity":
        name = nodes[name.partition(":")[0]].input[0]
    return name if ":" in name else f"{name}:0"


def _reconnect(node: Any, renamed: dict[str, str], removed: set[str]) -> Any:
    """Make a node read the placeholders, and drop its control dependencies on removed nodes."""
    inputs = [
        renamed.get(name, name) for name in node.input if name.removeprefix("^") not in removed or name in renamed
    ]
    del node.input[:]
    node.input.extend(inputs)
    return node
