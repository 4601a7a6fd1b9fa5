"""Write the ONNX files: dynamic batch and length, for runtimes other than TensorFlow.

There are two, over one file of weights: `FILE` for onnxruntime, the encoder in its fused operators, and `STANDARD_FILE`
for any runtime, in the standard's operators alone. tf2onnx converts only what is around the encoder - the encoder is
written node by node - and gets placeholders in place of weights: with 400 MB of constants in the graph it takes eight
times as long and four times the memory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bertbundle.errors import ExportError, OutputNamesError
from bertbundle.manifest import InputSpec, OutputSpec
from bertbundle_export import encoder_onnx
from bertbundle_export.cut import Cut
from bertbundle_export.onnx_graph import insert_nodes, rename, write_weights
from bertbundle_export.saved_model import Traced
from bertbundle_export.weightless import Detached, detach_weights, freeze_and_detach

__all__ = ["FORMATS", "save_onnx"]

OPSET = 17
FILE, STANDARD_FILE, WEIGHTS_FILE = "model.onnx", "model_standard.onnx", "model.onnx.data"

_VARIANTS: Mapping[str, tuple[encoder_onnx.Build, tuple[str, ...]]] = {
    FILE: (encoder_onnx.fused_encoder, (encoder_onnx.FUSED_DOMAIN,)),
    STANDARD_FILE: (encoder_onnx.standard_encoder, ()),
}
"""How each file's encoder is written, and the domains of operators it may have beside the standard's."""

FORMATS: Mapping[str, str] = {FILE: "onnx", STANDARD_FILE: "onnx_standard"}
"""Name of each file's format in the manifest's parity rows."""


def save_onnx(
    directory: Path,
    traced: Traced,
    *,
    inputs: Sequence[InputSpec],
    outputs: Sequence[OutputSpec],
    as_is: Callable[[], Traced],
) -> None:
    """Convert a traced model and write it, checked.

    Args:
        directory: gets the files.
        traced: what `saved_model.trace` returned.
        inputs: its inputs in order.
        outputs: its outputs; the files have the same names.
        as_is: traces the model with its own encoder, for one whose weights only freezing can take out.

    Raises:
        ExportError: tf2onnx could not convert an operation, or the result is not valid ONNX.
    """
    function = traced.function
    detached = detach_weights(function, traced.encoders)
    if detached is None:
        function = as_is().function
        detached = freeze_and_detach(function)
    head = _convert_head(function, detached, inputs, outputs)
    prefixes = {id(cut.graph): f"encoder_{index}" for index, cut in enumerate(detached.cuts)}
    weights = {
        name: value for name, value in detached.weights.items() if name in {item.name for item in head.graph.input}
    }
    for cut in detached.cuts:
        weights |= encoder_onnx.encoder_weights(cut.graph.encoder, prefixes[id(cut.graph)])
    tensors = write_weights(directory / WEIGHTS_FILE, weights)
    _declare_inputs(head, inputs)
    head.graph.initializer.extend(tensors)
    for name, (build, domains) in _VARIANTS.items():
        proto = type(head).FromString(head.SerializeToString())
        for index, cut in enumerate(detached.cuts):
            _insert_encoder(proto, cut, build, prefixes[id(cut.graph)], f"call_{index}")
        _check_operators(proto, domains)
        _save(directory / name, proto)


def _convert_head(function: Any, detached: Detached, inputs: Sequence[InputSpec], outputs: Sequence[OutputSpec]) -> Any:
    """Convert what is around the encoders; weights and hidden states are inputs of the result."""
    input_names = [f"{spec.name}:0" for spec in inputs]
    states = [name for cut in detached.cuts for name in cut.outputs]
    # What an encoder is called with, where that is not an input as it stands.
    called = sorted({name for cut in detached.cuts for name in cut.inputs} - {*input_names})
    # Flat outputs come in the order of the sorted names, as `output_specs` lists them.
    output_names = [tensor.name for tensor in function.outputs]
    proto = _convert(detached.graph_def, [*input_names, *detached.weights, *states], [*output_names, *called])
    kept = [item for item in proto.graph.output if item.name not in called]
    del proto.graph.output[:]
    proto.graph.output.extend(kept)
    names = {name: spec.name for name, spec in zip(input_names, inputs, strict=True)}
    names |= {name: spec.name for name, spec in zip(output_names, outputs, strict=True)}
    rename(proto.graph, names)
    _name_dimensions(proto, outputs)
    return proto


def _declare_inputs(proto: Any, inputs: Sequence[InputSpec]) -> None:
    """Make the graph's inputs the bundle's: no weights and hidden states, but those that only an encoder reads."""
    from onnx import TensorProto, helper

    del proto.graph.input[:]
    proto.graph.input.extend(
        helper.make_tensor_value_info(spec.name, TensorProto.INT32, ["batch", "length"]) for spec in inputs
    )


def _insert_encoder(proto: Any, cut: Cut, build: encoder_onnx.Build, weights: str, call: str) -> None:
    from onnx import helper

    graph = encoder_onnx.OnnxEncoder(cut.graph.encoder, weights, call)
    declared = {f"{item.name}:0": item.name for item in proto.graph.input}
    ids, mask, types = (declared.get(name, name) for name in cut.inputs)
    states = build(graph, (ids, mask, types))
    wanted = states if len(cut.outputs) > 1 else states[-1:]
    insert_nodes(proto.graph, graph.nodes, dict(zip(wanted, cut.outputs, strict=True)))
    domains = {node.domain for node in graph.nodes} - {item.domain for item in proto.opset_import}
    proto.opset_import.extend(helper.make_opsetid(domain, 1) for domain in sorted(domains))


def _erfc(ctx: Any, node: Any, name: str, args: Any) -> None:
    """Convert Erfc, which Keras's gelu becomes and tf2onnx does not know: erfc(x) = 1 - erf(x)."""
    from tf2onnx import utils

    del args
    shape, dtype = ctx.get_shape(node.output[0]), ctx.get_dtype(node.output[0])
    one = ctx.make_const(utils.make_name(f"{name}_one"), np.array(1, utils.map_onnx_to_numpy_type(dtype)))
    erf = ctx.make_node("Erf", node.input, shapes=[shape], dtypes=[dtype])
    ctx.remove_node(node.name)
    outputs, minuends = node.output, [one.output[0], erf.output[0]]
    ctx.make_node("Sub", minuends, name=node.name, outputs=outputs, shapes=[shape], dtypes=[dtype])


def _convert(graph_def: Any, input_names: list[str], output_names: list[str]) -> Any:
    import tf2onnx

    with _errors_raise("tf2onnx"):
        proto, _ = tf2onnx.convert.from_graph_def(
            graph_def,
            name="bertbundle",
            input_names=input_names,
            output_names=output_names,
            opset=OPSET,
            custom_op_handlers={"Erfc": (_erfc, [])},
        )
    return proto


class _ErrorRecords(logging.Handler):
    """Keep the errors that a library only logs."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage().partition("\n")[0])  # a traceback may follow


@contextmanager
def _errors_raise(logger_name: str) -> Iterator[None]:
    """Make a logged error an exception: tf2onnx logs that it lacks an operator, and writes the model anyway."""
    logger, records = logging.getLogger(logger_name), _ErrorRecords()
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(records)
    try:
        yield
    except (ValueError, RuntimeError, KeyError, NotImplementedError) as error:
        what = str(error).partition("\n")[0]
        raise ExportError(f"tf2onnx cannot convert the model: {what}. Export it with --formats saved_model.") from error
    finally:
        logger.removeHandler(records)
        logger.propagate = propagate
    if records.messages:
        raise ExportError(
            f"tf2onnx cannot convert the model: {'; '.join(records.messages[:3])}. Export it with --formats "
            "saved_model."
        )


def _name_dimensions(proto: Any, outputs: Sequence[OutputSpec]) -> None:
    shapes = {spec.name: spec.shape for spec in outputs}
    for value in proto.graph.output:
        shape = shapes[value.name]
        dims = value.type.tensor_type.shape.dim
        if len(dims) != len(shape):
            raise OutputNamesError(f"ONNX has rank {len(dims)} for {value.name}, expected {len(shape)}.")
        for dim, size in zip(dims, shape, strict=True):
            dim.Clear()
            if size.isdigit():
                dim.dim_value = int(size)
            else:
                dim.dim_param = size


def _check_operators(proto: Any, domains: Sequence[str]) -> None:
    """Refuse operators outside the ONNX standard and the domains given: no runtime would load the file."""
    known = ("", "ai.onnx", *domains)
    foreign = {f"{node.domain}.{node.op_type}" for node in proto.graph.node if node.domain not in known}
    if foreign:
        raise ExportError(f"the ONNX model has operators outside the standard: {', '.join(sorted(foreign))}.")


def _save(path: Path, proto: Any) -> None:
    import onnx

    path.write_bytes(proto.SerializeToString())
    try:
        onnx.checker.check_model(str(path))
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ExportError(f"the converted ONNX model is not valid: {error}. Please report it.") from error
