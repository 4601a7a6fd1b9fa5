"""Write model.onnx: the traced function with dynamic batch and length, for runtimes other than TensorFlow.

tf2onnx gets the graph without its weights - placeholders stand for them - and the weights are put back as
initializers: with 400 MB of constants in the graph it takes eight times as long and four times the memory.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bertbundle.errors import ExportError, OutputNamesError
from bertbundle.manifest import InputSpec, OutputSpec
from bertbundle_export.weightless import detach_weights

__all__ = ["save_onnx"]

OPSET = 17


def save_onnx(path: Path, function: Any, *, inputs: Sequence[InputSpec], outputs: Sequence[OutputSpec]) -> None:
    """Convert a traced function and write it, checked.

    Args:
        path: file to write.
        function: what `saved_model.trace` returned.
        inputs: its inputs in order.
        outputs: its outputs; the file has the same names.

    Raises:
        ExportError: tf2onnx could not convert an operation, or the result is not valid ONNX.
    """
    import onnx

    graph_def, weights = detach_weights(function)
    input_names = [f"{spec.name}:0" for spec in inputs]
    # Flat outputs come in the order of the sorted names, as `output_specs` lists them.
    output_names = [tensor.name for tensor in function.outputs]
    proto = _convert(graph_def, [*input_names, *weights], output_names)
    _put_weights(proto, weights)
    names = {name: spec.name for name, spec in zip(input_names, inputs, strict=True)}
    names |= {name: spec.name for name, spec in zip(output_names, outputs, strict=True)}
    _rename(proto, names)
    _name_dimensions(proto, outputs)
    _check_operators(proto)
    onnx.save(proto, str(path))
    try:
        onnx.checker.check_model(str(path))
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ExportError(f"the converted ONNX model is not valid: {error}. Please report it.") from error


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


def _put_weights(proto: Any, weights: dict[str, Any]) -> None:
    import onnx

    taken = {item.name for item in proto.graph.input} & weights.keys()
    kept = [item for item in proto.graph.input if item.name not in taken]
    del proto.graph.input[:]
    proto.graph.input.extend(kept)
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(weights[name], name) for name in sorted(taken))


def _rename(proto: Any, names: dict[str, str]) -> None:
    """Give the graph's inputs and outputs the bundle's names, wherever they are used."""
    for value in (*proto.graph.input, *proto.graph.output):
        value.name = names.get(value.name, value.name)
    for node in proto.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for node in proto.graph.node:
        for attribute in node.attribute:
            for inner in attribute.g.node:  # a loop's body may read the outer graph's tensors
                inner.input[:] = [names.get(name, name) for name in inner.input]


def _name_dimensions(proto: Any, outputs: Sequence[OutputSpec]) -> None:
    shapes = {spec.name: spec.shape for spec in outputs}
    for value in (*proto.graph.input, *proto.graph.output):
        shape = shapes.get(value.name, ("batch", "length"))
        dims = value.type.tensor_type.shape.dim
        if len(dims) != len(shape):
            raise OutputNamesError(f"ONNX has rank {len(dims)} for {value.name}, expected {len(shape)}.")
        for dim, size in zip(dims, shape, strict=True):
            dim.Clear()
            if size.isdigit():
                dim.dim_value = int(size)
            else:
                dim.dim_param = size


def _check_operators(proto: Any) -> None:
    """Refuse operators outside the ONNX standard: no other runtime would load the file."""
    foreign = {f"{node.domain}.{node.op_type}" for node in proto.graph.node if node.domain not in ("", "ai.onnx")}
    if foreign:
        raise ExportError(f"the ONNX model has operators outside the standard: {', '.join(sorted(foreign))}.")
