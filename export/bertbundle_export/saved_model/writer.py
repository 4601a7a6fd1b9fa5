"""Write the SavedModel: one traced function of any length, under one signature per fixed length.

The encoder is traced once; each signature fixes the length of its inputs and calls it. So a signature adds a few nodes,
the weights are on disk once, and the graph itself rejects a wrong length (TensorFlow Serving does not check shapes).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bertbundle.contract.manifest import BUNDLE_INFO, MANIFEST_FILE, TOKENIZER_FILE, InputSpec
from bertbundle_export.saved_model.tracing import TracedModel, concrete_function

__all__ = ["save_model"]


def save_model(
    path: Path, traced: TracedModel, inputs: Sequence[InputSpec], *, signatures: Mapping[str, int], assets: Path
) -> None:
    """Write a SavedModel.

    Args:
        path: directory to write to.
        traced: the traced model; only the variables that it reads are saved.
        inputs: the inputs of every signature.
        signatures: length by signature name.
        assets: directory with bundle.json and tokenizer.json, which are copied to ``assets/``. The graph reads them
            there when `bundle_info` is called, so bundle.json may be rewritten once parity is known.
    """
    from bertbundle_export.tensorflow_import import tf

    module = tf.Module()
    # In one list: tracking the layers of the Keras model takes longer.
    module.weights = list(traced.function.graph.variables)
    module.encode = traced.function
    module.manifest = tf.saved_model.Asset(str(assets / MANIFEST_FILE))
    module.tokenizer = tf.saved_model.Asset(str(assets / TOKENIZER_FILE))
    functions = {name: _fixed_length(traced.function, inputs, length) for name, length in signatures.items()}
    functions[BUNDLE_INFO] = _bundle_info(module)
    tf.saved_model.save(module, str(path), signatures=functions)


def _fixed_length(function: Any, inputs: Sequence[InputSpec], length: int) -> Any:
    from bertbundle_export.tensorflow_import import tf

    shapes = {name: _at_length(tensor.shape, length) for name, tensor in function.structured_outputs.items()}

    def predict(*values: Any) -> dict[str, Any]:
        outputs = function(*(tf.ensure_shape(value, [None, length]) for value in values))
        return {name: tf.ensure_shape(value, shapes[name]) for name, value in outputs.items()}

    return concrete_function(predict, [tf.TensorSpec([None, length], spec.dtype, name=spec.name) for spec in inputs])


def _at_length(shape: Any, length: int) -> list[int | None]:
    return [size if size is not None or axis == 0 else length for axis, size in enumerate(shape)]


def _bundle_info(module: Any) -> Any:
    from bertbundle_export.tensorflow_import import tf

    def bundle_info(row: Any) -> dict[str, Any]:
        files = {"manifest": module.manifest, "tokenizer": module.tokenizer}
        return {name: tf.fill(tf.shape(row), tf.io.read_file(asset)) for name, asset in files.items()}

    return concrete_function(bundle_info, [tf.TensorSpec([None], tf.int32, name="row")])
