"""Write the ONNX files: dynamic batch and length, for runtimes other than TensorFlow.

tf2onnx converts only what is around the encoder - the encoder is written node by node (`onnx_variants`) - and gets
placeholders in place of weights: with 400 MB of constants in the graph it takes eight times as long and four times the
memory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bertbundle.contract.manifest import InputSpec, OutputSpec
from bertbundle.contract.types import InputFeatures
from bertbundle_export.errors import ExportError, OutputNamesError
from bertbundle_export.onnx_files.graph import rename
from bertbundle_export.onnx_files.variants import Parts, write_float32, write_int8
from bertbundle_export.onnx_files.weight_detachment import Detached, detach_weights, freeze_and_detach
from bertbundle_export.saved_model.writer import Traced

__all__ = ["save_onnx"]

OPSET = 17


def save_onnx(
    directory: Path,
    traced: Traced,
    *,
    inputs: Sequence[InputSpec],
    outputs: Sequence[OutputSpec],
    as_is: Callable[[], Traced],
    calibration: Sequence[InputFeatures] = (),
) -> None:
    """Convert a traced model and write it, checked.

    Args:
        directory: gets the files.
        traced: what `saved_model.trace` returned.
        inputs: its inputs in order.
        outputs: its outputs; the files have the same names.
        as_is: traces the model with its own encoder, for one whose weights only freezing can take out.
        calibration: texts for int8; none for float32.

    Raises:
        ExportError: tf2onnx could not convert an operation, or the result is not valid ONNX.
    """
    function = traced.function
    detached = detach_weights(function, traced.encoders)
    if detached is None:
        function = as_is().function
        detached = freeze_and_detach(function)
    head = _convert_head(function, detached, inputs, outputs)
    read = {item.name for item in head.graph.input}
    weights = {name: value for name, value in detached.weights.items() if name in read}
    _declare_inputs(head, inputs)
    parts = Parts(head, weights, detached.cuts)
    if calibration:
        write_int8(directory, parts, calibration)
    else:
        write_float32(directory, parts)


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
