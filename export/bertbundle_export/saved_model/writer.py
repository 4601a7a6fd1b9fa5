"""Write the SavedModel: one traced function of any length, under one signature per fixed length.

The encoder is traced once; each signature pins its inputs to its length and calls it. So a signature costs a few
nodes, the weights are on disk once, and a wrong length is an error in the graph itself (a stock TensorFlow Serving
checks no shapes).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertbundle.contract.manifest import BUNDLE_INFO, MANIFEST_FILE, TOKENIZER_FILE, InputSpec, OutputSpec
from bertbundle_export.encoder.extraction import count_calls
from bertbundle_export.encoder.kernels import choose_kernels
from bertbundle_export.encoder.patching import swapped_encoders
from bertbundle_export.encoder.tf_graph import EncoderGraph
from bertbundle_export.saved_model.recurrent import convertible_loops
from bertbundle_export.source.model import SourceModel, raw_outputs
from bertbundle_export.tasks import TASKS, Head

__all__ = ["Traced", "output_specs", "save_model", "trace", "trace_as_is"]


@dataclass(frozen=True, slots=True)
class Traced:
    """A source model as a graph.

    Attributes:
        function: a concrete function of the inputs by name (int32 ``[batch, length]``), returning the outputs by name.
        encoders: the encoders that stand in for the model's own; none if it is none that is known.
        precision: of the matrix products, "float32" or "bfloat16".
    """

    function: Any
    encoders: tuple[EncoderGraph, ...] = ()
    precision: str = "float32"


def trace(model: SourceModel, head: Head, *, precision: str = "float32") -> Traced:
    """Trace a source model and its task's outputs for any batch and length, its encoder swapped for a faster one.

    Args:
        model: the source model; left as it is.
        head: its task's choices.
        precision: of the encoder's matrix products, "float32" or "bfloat16".
    """
    kernels = choose_kernels(precision)
    with swapped_encoders(model.keras, lambda encoder: EncoderGraph(encoder, kernels, precision)) as encoders:
        traced = Traced(_trace(model, head), tuple(encoders), precision)
    made, found = (
        sum(encoder.calls for encoder in encoders),
        count_calls(traced.function.graph.as_graph_def(), encoders),
    )
    # A call inside an inner function or loop could not be cut out for other formats.
    return traced if made == found > 0 else trace_as_is(model, head)


def trace_as_is(model: SourceModel, head: Head) -> Traced:
    """Trace a source model with the encoder that it has."""
    return Traced(_trace(model, head))


def _trace(model: SourceModel, head: Head) -> Any:
    from bertbundle_export.tensorflow_import import tf

    specs = [tf.TensorSpec([None, None], spec.dtype, name=spec.name) for spec in model.inputs]
    graph = TASKS[model.task].graph

    def encode(*values: Any) -> dict[str, Any]:
        inputs = {spec.name: value for spec, value in zip(model.inputs, values, strict=True)}
        return graph(raw_outputs(model, inputs), inputs, head)

    with convertible_loops():
        return _concrete(encode, specs)


def output_specs(function: Any) -> tuple[OutputSpec, ...]:
    """Return the outputs of a traced function; an unknown dimension is the batch if first, else the length."""
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


def save_model(
    path: Path, traced: Traced, inputs: Sequence[InputSpec], *, signatures: Mapping[str, int], asset_directory: Path
) -> None:
    """Write a SavedModel.

    Args:
        path: where it goes.
        traced: what `trace` returned; the variables it reads are saved, and no others.
        inputs: the inputs of every signature.
        signatures: length by signature name.
        asset_directory: holds bundle.json and tokenizer.json, copied to ``assets/``. The graph reads them there when
            `bundle_info` is called, so that bundle.json may be rewritten once parity is known.
    """
    from bertbundle_export.tensorflow_import import tf

    module = tf.Module()
    # In one list: following the layers of the Keras model takes longer.
    module.weights = list(traced.function.graph.variables)
    module.encode = traced.function
    module.manifest = tf.saved_model.Asset(str(asset_directory / MANIFEST_FILE))
    module.tokenizer = tf.saved_model.Asset(str(asset_directory / TOKENIZER_FILE))
    functions = {name: _fixed_length(traced.function, inputs, length) for name, length in signatures.items()}
    functions[BUNDLE_INFO] = _bundle_info(module)
    tf.saved_model.save(module, str(path), signatures=functions)


def _fixed_length(function: Any, inputs: Sequence[InputSpec], length: int) -> Any:
    from bertbundle_export.tensorflow_import import tf

    shapes = {name: _at_length(tensor.shape, length) for name, tensor in function.structured_outputs.items()}

    def predict(*values: Any) -> dict[str, Any]:
        answer = function(*(tf.ensure_shape(value, [None, length]) for value in values))
        return {name: tf.ensure_shape(value, shapes[name]) for name, value in answer.items()}

    return _concrete(predict, [tf.TensorSpec([None, length], spec.dtype, name=spec.name) for spec in inputs])


def _at_length(shape: Any, length: int) -> list[int | None]:
    return [size if size is not None or axis == 0 else length for axis, size in enumerate(shape)]


def _bundle_info(module: Any) -> Any:
    from bertbundle_export.tensorflow_import import tf

    def bundle_info(row: Any) -> dict[str, Any]:
        files = {"manifest": module.manifest, "tokenizer": module.tokenizer}
        return {name: tf.fill(tf.shape(row), tf.io.read_file(asset)) for name, asset in files.items()}

    return _concrete(bundle_info, [tf.TensorSpec([None], tf.int32, name="row")])


def _concrete(function: Callable[..., Any], specs: list[Any]) -> Any:
    from bertbundle_export.tensorflow_import import tf

    return tf.function(function, input_signature=specs, autograph=False).get_concrete_function()
