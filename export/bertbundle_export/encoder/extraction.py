"""Cut the encoders out of a traced graph: what a converter then sees is the rest, the head, and it is small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bertbundle_export.encoder.tf_graph import EncoderGraph

__all__ = ["Cut", "count_calls", "cut_encoders"]


@dataclass(frozen=True, slots=True)
class Cut:
    """One call of an encoder that was cut out.

    Attributes:
        graph: the encoder.
        inputs: names of the tensors it was called with: ids, mask, type ids.
        outputs: names of the placeholders' tensors in the places of what it returned.
    """

    graph: EncoderGraph
    inputs: tuple[str, str, str]
    outputs: tuple[str, ...]


def count_calls(graph_def: Any, encoders: Sequence[EncoderGraph]) -> int:
    """Return how often encoders are called in the graph itself, inner functions and loops left out."""
    return sum(_callee(node, encoders) is not None for node in graph_def.node)


def cut_encoders(graph_def: Any, encoders: Sequence[EncoderGraph]) -> list[Cut]:
    """Replace every call of an encoder by placeholders for its outputs; the GraphDef is changed."""
    calls = [(node, _callee(node, encoders)) for node in graph_def.node]
    found = [(node, encoder) for node, encoder in calls if encoder is not None]
    cuts, added = [], []
    renamed: dict[str, str] = {}
    for node, encoder in found:
        holders = [_placeholder(node, index, encoder) for index in range(len(node.attr["Tout"].list.type))]
        renamed |= {_reference(node.name, index): holder.name for index, holder in enumerate(holders)}
        ids, mask, types = (_source(graph_def, name) for name in node.input[:3])
        cuts.append(Cut(encoder, (ids, mask, types), tuple(f"{holder.name}:0" for holder in holders)))
        added += holders
    gone = {node.name for node, _ in found}
    kept = [_redirected(node, renamed, gone) for node in graph_def.node if node.name not in gone]
    del graph_def.node[:]
    graph_def.node.extend([*added, *kept])
    return cuts


def _callee(node: Any, encoders: Sequence[EncoderGraph]) -> EncoderGraph | None:
    if node.op not in ("PartitionedCall", "StatefulPartitionedCall"):
        return None
    name = node.attr["f"].func.name
    return next((encoder for encoder in encoders if name in encoder.names), None)


def _placeholder(call: Any, index: int, encoder: EncoderGraph) -> Any:
    from bertbundle_export.tensorflow_import import tf

    node = tf.compat.v1.NodeDef(op="Placeholder", name=f"{call.name}_states_{index}")
    node.attr["dtype"].type = call.attr["Tout"].list.type[index]
    shape = tf.TensorShape([None, None, encoder.encoder.hidden_size])
    node.attr["shape"].shape.CopyFrom(shape.as_proto())
    return node


def _reference(name: str, index: int) -> str:
    return f"{name}:{index}" if index else name


def _source(graph_def: Any, name: str) -> str:
    """Return the tensor that an input is, behind any Identity."""
    nodes = {node.name: node for node in graph_def.node}
    while nodes[name.partition(":")[0]].op == "Identity":
        name = nodes[name.partition(":")[0]].input[0]
    return name if ":" in name else f"{name}:0"


def _redirected(node: Any, renamed: dict[str, str], gone: set[str]) -> Any:
    inputs = [renamed.get(name, name) for name in node.input if name.removeprefix("^") not in gone or name in renamed]
    del node.input[:]
    node.input.extend(inputs)
    return node
