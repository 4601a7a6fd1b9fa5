"""Trace a source model: one TensorFlow function for any batch size and length, with a faster encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bertbundle.contract.manifest import OutputSpec
from bertbundle_export.encoder.extraction import count_calls
from bertbundle_export.encoder.kernels import choose_kernels
from bertbundle_export.encoder.patching import patched_encoders
from bertbundle_export.encoder.tf_graph import EncoderGraph
from bertbundle_export.saved_model.recurrent import convertible_loops
from bertbundle_export.source.model import SourceModel, raw_outputs
from bertbundle_export.tasks import HeadConfig, task_of

__all__ = ["TracedModel", "concrete_function", "output_specs", "trace", "trace_unpatched"]


@dataclass(frozen=True, slots=True)
class TracedModel:
    """A source model as a graph.

    Attributes:
        function: a concrete function of the inputs by name (int32 ``[batch, length]``) that returns the outputs by
            name.
        encoders: the encoders that replace the model's own in the graph; none if the model has no supported encoder.
        precision: precision of the matrix products, "float32" or "bfloat16".
    """

    function: Any
    encoders: tuple[EncoderGraph, ...] = ()
    precision: str = "float32"


def trace(model: SourceModel, head: HeadConfig, *, precision: str = "float32") -> TracedModel:
    """Trace a source model and the outputs of its task, with its encoder replaced by a faster one.

    Args:
        model: the source model; it is not changed.
        head: how the task's outputs are computed.
        precision: precision of the encoder's matrix products, "float32" or "bfloat16".
    """
    kernels = choose_kernels(precision)
    with patched_encoders(model.keras, lambda weights: EncoderGraph(weights, kernels, precision)) as encoders:
        traced = TracedModel(_trace(model, head), tuple(encoders), precision)
    calls = sum(encoder.calls for encoder in encoders)
    # A call inside an inner function or a loop cannot be extracted for the ONNX files.
    all_in_main_graph = calls == count_calls(traced.function.graph.as_graph_def(), encoders)
    return traced if calls and all_in_main_graph else trace_unpatched(model, head)


def trace_unpatched(model: SourceModel, head: HeadConfig) -> TracedModel:
    """Trace a source model with its own encoder."""
    return TracedModel(_trace(model, head))


def _trace(model: SourceModel, head: HeadConfig) -> Any:
    from bertbundle_export.tensorflow_import import tf

    specs = [tf.TensorSpec([None, None], spec.dtype, name=spec.name) for spec in model.inputs]
    graph = task_of(model.task, model.heads).graph

    def encode(*values: Any) -> dict[str, Any]:
        inputs = {spec.name: value for spec, value in zip(model.inputs, values, strict=True)}
        return graph(raw_outputs(model, inputs), inputs, head)

    with convertible_loops():
        return concrete_function(encode, specs)


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
