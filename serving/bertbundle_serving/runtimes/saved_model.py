"""The SavedModel runtime: computes any SavedModel with signatures. TensorFlow is imported on first use."""

from __future__ import annotations

import dataclasses
import gc
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bertbundle._shared.cpu_features import BFLOAT16_FLAGS, fast_bfloat16
from bertbundle.contract.manifest import MANIFEST_FILE, Manifest
from bertbundle.contract.types import Arrays
from bertbundle_serving.cores import available_cores
from bertbundle_serving.errors import CODES, RequestError, ServeError
from bertbundle_serving.runtimes.base import (
    Outputs,
    Runtime,
    RuntimeOptions,
    Servable,
    SignatureSpec,
    TensorSpec,
    describe,
)

__all__ = ["RUNTIME", "SavedModelServable"]

_MODEL_FILE = "saved_model.pb"
_SERVE_TAG = "serve"

_logger = logging.getLogger(__name__)


class SavedModelServable:
    """A SavedModel. Each signature is a TensorFlow function."""

    def __init__(
        self, tf: Any, loaded: Any, signatures: Mapping[str, SignatureSpec], description: str, threads: int
    ) -> None:
        self._tf = tf
        # All computations share TensorFlow's threads: a second computation uses those that are idle in the first.
        self.concurrency = max(2, available_cores() // threads)
        # The functions have only weak references to their variables, which the loaded object owns.
        self._loaded = loaded
        self._functions: dict[str, Any] = dict(loaded.signatures)
        self.signatures = signatures
        self.description = description

    def run(self, signature: str, inputs: Arrays, outputs: Sequence[str]) -> Outputs:
        """Compute the named outputs of a signature; see `Servable.run`. TensorFlow's errors keep code and message."""
        try:
            # Pass the dtype: TensorFlow cannot infer it from an empty array of strings.
            specs = self.signatures[signature].inputs
            tensors = {name: self._tf.constant(inputs[name], specs[name].dtype) for name in specs}
            results = self._functions[signature](**tensors)
            return {name: np.asarray(results[name].numpy()) for name in outputs}
        except self._tf.errors.OpError as error:
            raise RequestError(CODES[error.error_code], error.message) from error

    def close(self) -> None:
        """Drop the functions and the variables."""
        self._functions = {}
        self._loaded = None
        gc.collect()  # TensorFlow's objects have reference cycles


def _signatures(tf: Any, loaded: Any, directory: Path, *, batch_non_bundles: bool) -> dict[str, SignatureSpec]:
    """Return the callable signatures of the loaded object, as described in saved_model.pb."""
    definitions = _read_definitions(directory)
    specs = {name: _signature(tf, name, definitions[name]) for name in loaded.signatures}
    if not (directory / MANIFEST_FILE).is_file():
        return {
            name: dataclasses.replace(spec, batched=batch_non_bundles and _has_batch_dimension(spec))
            for name, spec in specs.items()
        }
    limits = {spec.name: spec.size for spec in Manifest.read(directory).inputs}
    return {name: _bundle_signature(spec, limits) for name, spec in specs.items()}


def _read_definitions(directory: Path) -> Mapping[str, Any]:
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString((directory / _MODEL_FILE).read_bytes())
    graphs = [graph for graph in saved.meta_graphs if _SERVE_TAG in graph.meta_info_def.tags]
    definitions: Mapping[str, Any] = graphs[0].signature_def
    return definitions


def _has_batch_dimension(spec: SignatureSpec) -> bool:
    """Return whether the first dimension of every input and output is not fixed."""
    tensors = (*spec.inputs.values(), *spec.outputs.values())
    return bool(spec.inputs) and all(tensor.shape and tensor.shape[0] is None for tensor in tensors)


def _bundle_signature(spec: SignatureSpec, limits: Mapping[str, int]) -> SignatureSpec:
    """Add what only bundles guarantee: independent rows and the range of ids."""
    inputs = {
        name: dataclasses.replace(tensor, limit=limits.get(name)) if len(tensor.shape or ()) > 1 else tensor
        for name, tensor in spec.inputs.items()
    }
    return dataclasses.replace(spec, inputs=inputs, batched=True)


def _signature(tf: Any, name: str, definition: Any) -> SignatureSpec:
    return SignatureSpec(
        name,
        {alias: _tensor(tf, alias, info) for alias, info in definition.inputs.items()},
        {alias: _tensor(tf, alias, info) for alias, info in sorted(definition.outputs.items())},
        method=definition.method_name,
        defaults={alias: tf.make_ndarray(value) for alias, value in definition.defaults.items()},
    )


def _tensor(tf: Any, alias: str, info: Any) -> TensorSpec:
    shape = tf.TensorShape(info.tensor_shape)
    sizes = None if shape.rank is None else tuple(shape.as_list())
    return TensorSpec(alias, np.dtype(tf.as_dtype(info.dtype).as_numpy_dtype), sizes, info.name)


def _import_tensorflow(threads: int, inter_op_threads: int | None) -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors only; read when TensorFlow is imported
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ServeError(
            "TensorFlow is not installed; the saved_model runtime needs it: pip install 'bertbundle-toolkit[export]'."
        ) from error
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(inter_op_threads or 0)
    except RuntimeError:  # TensorFlow started its threads with the first model
        _logger.debug("TensorFlow is already running: the number of its threads cannot be changed")
    return tf


def _load(directory: Path, options: RuntimeOptions) -> Servable:
    threads = options.threads or available_cores()
    tf = _import_tensorflow(threads, options.inter_op_threads)
    loaded = tf.saved_model.load(str(directory), tags=[_SERVE_TAG])
    if not loaded.signatures:
        raise ServeError(f"the SavedModel in {directory} has no signatures. Save it with signatures=....")
    signatures = _signatures(tf, loaded, directory, batch_non_bundles=options.batch_non_bundles)
    description = describe("saved_model", _precision(directory), threads, options.reason)
    return SavedModelServable(tf, loaded, signatures, description, threads)


def _precision(directory: Path) -> str:
    """Return the precision a bundle was exported in. Warn if it is slow on this processor."""
    if not (directory / MANIFEST_FILE).is_file():
        return "its own"
    precision = Manifest.read(directory).precision
    if precision == "bfloat16" and fast_bfloat16() is None:
        _logger.warning(
            "%s is a bfloat16 SavedModel, which is slow on this processor: it has none of %s. "
            "Use --runtime onnx or openvino, or export with --precision float32.",
            directory,
            ", ".join(BFLOAT16_FLAGS),
        )
    # A bundle with int8 ONNX files has a float32 SavedModel.
    return "float32" if precision == "int8" else precision


RUNTIME = Runtime("saved_model", _MODEL_FILE, _load, "tensorflow", ignores=("model.onnx", "model_standard.onnx"))
