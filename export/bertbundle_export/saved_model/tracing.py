"""Trace a source model: one TensorFlow function for any batch size and length, with a faster encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from bertbundle._shared.cpu_features import fast_bfloat16
from bertbundle.contract.manifest import OutputSpec
from bertbundle.contract.types import InputFeatures
from bertbundle_export.encoder.calibration import ObservingKernels, calibration_rows
from bertbundle_export.encoder.extraction import count_calls
from bertbundle_export.encoder.int8 import Quantized, quantize
from bertbundle_export.encoder.kernels import choose_kernels, has_onednn
from bertbundle_export.encoder.patching import patched_encoders
from bertbundle_export.encoder.tf_graph import EncoderGraph
from bertbundle_export.encoder.weights import EncoderWeights
from bertbundle_export.saved_model.recurrent import convertible_loops
from bertbundle_export.source.model import SourceModel, raw_outputs, run_source
from bertbundle_export.tasks import HeadConfig, task_of

__all__ = ["TracedModel", "attention_dtype", "concrete_function", "output_specs", "trace", "trace_unpatched"]


BuildGraph: TypeAlias = Callable[[EncoderWeights], EncoderGraph]


@dataclass(frozen=True, slots=True)
class TracedModel:
    """A source model as a graph.

    Attributes:
        function: a concrete function of the inputs by name (int32 ``[batch, length]``) that returns the outputs by
            name.
        encoders: the encoders that replace the model's own in the graph; none if the model has no supported encoder.
        precision: precision of the matrix products, "float32", "bfloat16" or "int8".
        operations: TensorFlow's name of the operation that computes each output of the source model, such as
            "Sigmoid"; operations that only move or cast values do not count.
    """

    function: Any
    encoders: tuple[EncoderGraph, ...] = ()
    precision: str = "float32"
    operations: Mapping[str, str] = field(default_factory=dict)


def trace(
    model: SourceModel,
    head: HeadConfig,
    *,
    precision: str = "float32",
    calibration: Sequence[InputFeatures] = (),
) -> TracedModel:
    """Trace a source model and the outputs of its task, with its encoder replaced by a faster one.

    Args:
        model: the source model; it is not changed.
        head: how the task's outputs are computed.
        precision: precision of the encoder's matrix products, "float32", "bfloat16" or "int8".
        calibration: texts on which the ranges for int8 are measured.
    """
    build = _int8_builder(model, calibration) if precision == "int8" else _builder(precision)
    with patched_encoders(model.keras, build) as encoders:
        traced = _trace(model, head, encoders, precision)
    calls = sum(encoder.calls for encoder in encoders)
    # A call inside an inner function or a loop cannot be extracted for the ONNX files.
    all_in_main_graph = calls == count_calls(traced.function.graph.as_graph_def(), encoders)
    return traced if calls and all_in_main_graph else trace_unpatched(model, head)


def _builder(precision: str) -> BuildGraph:
    kernels = choose_kernels(precision)
    return lambda weights: EncoderGraph(weights, kernels, precision)


def _int8_builder(model: SourceModel, calibration: Sequence[InputFeatures]) -> BuildGraph:
    quantized = iter(_quantize(model, calibration))
    kernels, attention = choose_kernels("int8"), attention_dtype()
    return lambda weights: EncoderGraph(
        weights, kernels, "float32", attention_dtype=attention, quantized=next(quantized)
    )


def attention_dtype() -> str:
    """Return the dtype of the attention's own products beside int8: bfloat16 if this processor is fast at it."""
    return "bfloat16" if fast_bfloat16() and has_onednn("bfloat16") else "float32"


def _quantize(model: SourceModel, calibration: Sequence[InputFeatures]) -> list[Quantized]:
    """Return the int8 kernels of each encoder, in the order of `patched_encoders`."""
    observers: list[ObservingKernels] = []

    def build(weights: EncoderWeights) -> EncoderGraph:
        observers.append(ObservingKernels())
        return EncoderGraph(weights, observers[-1], "float32")

    with patched_encoders(model.keras, build) as encoders:
        for row in calibration_rows(calibration):
            run_source(model, row)
    return [
        quantize(encoder.weights.named, observer.ranges(encoder.variables))
        for encoder, observer in zip(encoders, observers, strict=True)
    ]


def trace_unpatched(model: SourceModel, head: HeadConfig) -> TracedModel:
    """Trace a source model with its own encoder."""
    return _trace(model, head, (), "float32")


def _trace(model: SourceModel, head: HeadConfig, encoders: Sequence[EncoderGraph], precision: str) -> TracedModel:
    from bertbundle_export.tensorflow_import import tf

    specs = [tf.TensorSpec([None, None], spec.dtype, name=spec.name) for spec in model.inputs]
    graph = task_of(model.task, model.heads).graph
    operations: dict[str, str] = {}

    def encode(*values: Any) -> dict[str, Any]:
        inputs = {spec.name: value for spec, value in zip(model.inputs, values, strict=True)}
        raw = raw_outputs(model, inputs)
        operations.update({name: _operation(value) for name, value in raw.items()})
        return graph(raw, inputs, head)

    with convertible_loops():
        function = concrete_function(encode, specs)
    return TracedModel(function, tuple(encoders), precision, operations)  # encoders are known after the trace


# Operations whose values are those of their first input.
_MOVES = (
    *("Cast", "ConcatV2", "EnsureShape", "ExpandDims", "Identity", "IdentityN"),
    *("Pack", "Reshape", "Squeeze", "StopGradient", "StridedSlice", "Transpose"),
)
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


def _operation(tensor: Any) -> str:
    """Return the name of the operation that computes a tensor of a graph; "" for a value from outside of the graph."""
    while (operation := getattr(tensor, "op", None)) is not None:
        if operation.type in _CALLS:
            called = operation.graph._get_function(operation.get_attr("f").name)  # noqa: SLF001 - there is no other way
            tensor = called and called.graph.outputs[tensor.value_index]
        elif operation.type in _MOVES:
            tensor = operation.inputs[tensor.value_index if operation.type == "IdentityN" else 0]
        else:
            return str(operation.type)
    return ""


def concrete_function(function: Any, specs: list[Any]) -> Any:
    """Trace a Python function for inputs with the given TensorSpecs, without autograph."""
    from bertbundle_export.tensorflow_import import tf

    return tf.function(function, input_signature=specs, autograph=False).get_concrete_function()


def output_specs(function: Any) -> tuple[OutputSpec, ...]:
    """Return the outputs of a traced function; an unknown dimension is "batch" if it is the first, else "length"."""
    return tuple(
        OutputSpec(
            name,
            tensor.dtype.name,
            tuple(_dimension(axis, size) for axis, size in enumerate(tensor.shape)),
        )
        for name, tensor in sorted(function.structured_outputs.items())
    )


def _dimension(axis: int, size: int | None) -> str:
    return str(size) if size is not None else ("length" if axis else "batch")
