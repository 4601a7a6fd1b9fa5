"""Convert a traced model to the ONNX files, with dynamic batch size and length.

tf2onnx converts the head only; the encoder is written node by node (`onnx_files.variants`). The weights of the head are
placeholders: with 400 MB of constants in the graph, tf2onnx needs eight times the time and four times the memory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bertbundle.contract.manifest import InputSpec, OutputSpec
from bertbundle_export.errors import ExportError, OutputNamesError
from bertbundle_export.onnx_files.graph import rename
from bertbundle_export.onnx_files.variants import ModelParts, write_files
from bertbundle_export.onnx_files.weight_detachment import DetachedGraph, detach_weights, freeze_and_detach
from bertbundle_export.saved_model.tracing import TracedModel

__all__ = ["save_onnx"]

OPSET = 17


def save_onnx(
    directory: Path,
    traced: TracedModel,
    *,
    inputs: Sequence[InputSpec],
    outputs: Sequence[OutputSpec],
    precision: str,
    retrace: Callable[[], TracedModel],
) -> None:
    """Convert a traced model, and write and check the ONNX files.

    Args:
        directory: directory of the files.
        traced: the traced model.
        inputs: its inputs in order.
        outputs: its outputs; those of the files have the same names.
        precision: precision of the encoder's products in the files, "float32", "float16" or "int8".
        retrace: traces the model with its own encoder; called if its weights can only be detached by freezing.

    Raises:
        ExportError: tf2onnx cannot convert an operation, the precision is not possible, or the result is not valid
            ONNX.
    """
    function = traced.function
    detached = detach_weights(function, traced.encoders)
    if detached is None:
        if precision != "float32":
            raise ExportError(
                f"precision {precision} is not possible: the model reads its weights in a way that only a conversion "
                "of the whole model supports, such as inside a loop. Export with --precision float32."
            )
        function = retrace().function
        detached = freeze_and_detach(function)
    head = _convert_head(function, detached, inputs, outputs)
    used = {item.name for item in head.graph.input}
    weights = {name: value for name, value in detached.weights.items() if name in used}
    _declare_inputs(head, inputs)
    write_files(directory, ModelParts(head, weights, detached.calls), precision)


def _convert_head(
    function: Any, detached: DetachedGraph, inputs: Sequence[InputSpec], outputs: Sequence[OutputSpec]
) -> Any:
    """Convert everything except the encoders; weights and hidden states are inputs of the result."""
    input_names = [f"{spec.name}:0" for spec in inputs]
    states = [name for call in detached.calls for name in call.outputs]
    # Arguments of an encoder call that are not inputs of the model.
    arguments = sorted({name for call in detached.calls for name in call.inputs} - {*input_names})
    # Flat outputs are in the order of the sorted names, as in `output_specs`.
    output_names = [tensor.name for tensor in function.outputs]
    proto = _convert(detached.graph_def, [*input_names, *detached.weights, *states], [*output_names, *arguments])
    kept = [item for item in proto.graph.output if item.name not in arguments]
    del proto.graph.output[:]
    proto.graph.output.extend(kept)
    names = {name: spec.name for name, spec in zip(input_names, inputs, strict=True)}
    names |= {name: spec.name for name, spec in zip(output_names, outputs, strict=True)}
    rename(proto.graph, names)
    _name_dimensions(proto, outputs)
    return proto


def _declare_inputs(proto: Any, inputs: Sequence[InputSpec]) -> None:
    """Declare the bundle's inputs instead of weights and hidden states, including those that only an encoder reads."""
    from onnx import TensorProto, helper

    del proto.graph.input[:]
    proto.graph.input.extend(
        helper.make_tensor_value_info(spec.name, TensorProto.INT32, ["batch", "length"]) for spec in inputs
    )


def _erfc(ctx: Any, node: Any, name: str, args: Any) -> None:
    """Convert Erfc, an operation of Keras' gelu that tf2onnx does not support: erfc(x) = 1 - erf(x)."""
    from tf2onnx import utils

    del args
    shape, dtype = ctx.get_shape(node.output[0]), ctx.get_dtype(node.output[0])
    one = ctx.make_const(utils.make_name(f"{name}_one"), np.array(1, utils.map_onnx_to_numpy_type(dtype)))
    erf = ctx.make_node("Erf", node.input, shapes=[shape], dtypes=[dtype])
    ctx.remove_node(node.name)
    outputs, operands = node.output, [one.output[0], erf.output[0]]
    ctx.make_node("Sub", operands, name=node.name, outputs=outputs, shapes=[shape], dtypes=[dtype])


def _convert(graph_def: Any, input_names: list[str], output_names: list[str]) -> Any:
    import tf2onnx

    with _raise_logged_errors("tf2onnx"):
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
    """Collects the errors that a library logs."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage().partition("\n")[0])  # a traceback may follow


@contextmanager
def _raise_logged_errors(logger_name: str) -> Iterator[None]:
    """Raise logged errors: if tf2onnx does not support an operator, it only logs that, and converts the rest."""
    logger, records = logging.getLogger(logger_name), _ErrorRecords()
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(records)
    try:
        yield
    except (ValueError, RuntimeError, KeyError, NotImplementedError) as error:
        text = str(error).partition("\n")[0]
        raise ExportError(f"tf2onnx cannot convert the model: {text}. Export it with --formats saved_model.") from error
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
