"""The SavedModel runtime: computes any SavedModel with signatures. TensorFlow is imported on first use."""

from __future__ import annotations

import dataclasses
import gc
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bertbundle._shared.cores import available_cores
from bertbundle._shared.cpu_features import BFLOAT16_FLAGS, INT8_FLAGS, fast_bfloat16, fast_int8
from bertbundle._shared.large_imports import without_collection
from bertbundle.contract.manifest import MANIFEST_FILE, Manifest
from bertbundle.contract.types import Arrays
from bertbundle.wire.data_types import BY_NUMBER
from bertbundle_serving.errors import ServeError
from bertbundle_serving.runtimes.base import (
    GraphNotSupported,
    Outputs,
    Runtime,
    RuntimeOptions,
    Servable,
    SignatureSpec,
    TensorSpec,
    describe,
)
from bertbundle_serving.runtimes.session import SavedModelSession

__all__ = ["RUNTIME", "SavedModelServable"]

_MODEL_FILE = "saved_model.pb"

_logger = logging.getLogger(__name__)


class SavedModelServable:
    """A SavedModel in a session."""

    def __init__(
        self, session: SavedModelSession, signatures: Mapping[str, SignatureSpec], description: str, threads: int
    ) -> None:
        self.threads = threads
        # All computations share TensorFlow's threads: a second computation uses those that are idle in the first.
        self.concurrency = max(2, available_cores() // threads)
        self._session: SavedModelSession | None = session
        self.signatures = signatures
        self.description = description

    def run(self, signature: str, inputs: Arrays, outputs: Sequence[str]) -> Outputs:
        """Compute the named outputs of a signature; see `Servable.run`. TensorFlow's errors keep code and message."""
        if self._session is None:
            raise ValueError("the servable is closed")
        return self._session.run(signature, inputs, outputs)

    def prepare_for_load(self) -> None:
        """Do nothing; see `Servable`."""

    def close(self) -> None:
        """Close the session, which frees the variables."""
        if self._session is not None:
            self._session.close()
            self._session = None
        gc.collect()  # TensorFlow's graphs have reference cycles


def _signatures(
    tf: Any, definitions: Mapping[str, Any], directory: Path, *, batch_non_bundles: bool
) -> dict[str, SignatureSpec]:
    """Return the signatures as described in saved_model.pb."""
    specs = {name: _signature(tf, name, definition) for name, definition in definitions.items()}
    if not (directory / MANIFEST_FILE).is_file():
        return {
            name: dataclasses.replace(
                spec, batched=batch_non_bundles and _has_batch_dimension(spec), checks_shapes=False
            )
            for name, spec in specs.items()
        }
    limits = {spec.name: spec.size for spec in Manifest.read(directory).inputs}
    return {name: _bundle_signature(spec, limits) for name, spec in specs.items()}


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
    return TensorSpec(alias, _dtype(tf, info.dtype), sizes, info.name)


def _dtype(tf: Any, number: int) -> np.dtype[Any]:
    """Return the numpy dtype of a tensor. One that requests cannot have is a structure, which equals no other dtype."""
    row = BY_NUMBER.get(number)
    return row.numpy if row else np.dtype([(tf.as_dtype(number).name, np.uint8)])


def _import_tensorflow() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors only; read when TensorFlow is imported
    # Otherwise all sessions share the threads of the first one, whatever their number of threads.
    os.environ.setdefault("TF_OVERRIDE_GLOBAL_THREADPOOL", "1")
    try:
        with _without_keras(), without_collection():
            import tensorflow as tf
    except ImportError as error:
        raise ServeError(
            "TensorFlow is not installed; the saved_model runtime needs it: pip install 'bertbundle-toolkit[export]'."
        ) from error
    logging.getLogger("tensorflow").setLevel(logging.WARNING)  # else each load logs the path of the variables
    return tf


@contextmanager
def _without_keras() -> Iterator[None]:
    """Keep TensorFlow from importing Keras, which loading a SavedModel does not need: half of the import's time.

    TensorFlow expects that the import may fail. Keras can still be imported later.
    """
    names = {"keras.src", "tf_keras.src"} - sys.modules.keys()
    sys.modules.update(dict.fromkeys(names))  # type: ignore[arg-type] # None: an ImportError
    try:
        yield
    finally:
        for name in names:
            sys.modules.pop(name, None)


def _load(directory: Path, options: RuntimeOptions) -> Servable:
    precision = _precision(directory)
    threads = options.threads or _default_threads(precision)
    tf = _import_tensorflow()
    device = _device(directory, precision, options)
    session = SavedModelSession(tf, directory, threads, options.inter_op_threads, device)
    if not session.definitions:
        session.close()
        raise ServeError(f"the SavedModel in {directory} has no signatures. Save it with signatures=....")
    signatures = _signatures(tf, session.definitions, directory, batch_non_bundles=options.batch_non_bundles)
    description = describe("saved_model", precision, threads, options.reason, device)
    cores = available_cores() if device == "cuda" else threads  # on a GPU, no batch is divided among cores
    return SavedModelServable(session, signatures, description, cores)


_CPU_PRECISIONS = ("bfloat16", "int8")
"""Precisions whose SavedModel has operations of oneDNN, which are for CPUs."""


def _device(directory: Path, precision: str, options: RuntimeOptions) -> str:
    """Return the device to load a version on, "cpu" or "cuda"."""
    if options.device == "cuda" and precision in _CPU_PRECISIONS:
        raise GraphNotSupported(
            f"{directory} is a SavedModel in {precision}, whose operations compute on CPUs only, but --device is cuda. "
            "Omit it, or export with --precision float32"
        )
    if options.device == "auto":
        return "cpu" if precision in _CPU_PRECISIONS or _cuda_problem() else "cuda"
    if options.device == "cuda" and (problem := _cuda_problem()):
        raise ServeError(f"--device cuda is not possible: {problem}.")
    return options.device


def _cuda_problem() -> str:
    """Return why TensorFlow cannot compute on a GPU here, and what to do; empty if it can."""
    try:
        tf = _import_tensorflow()
    except ServeError as error:
        return str(error).rstrip(".")
    if tf.config.list_physical_devices("GPU"):
        return ""
    return "TensorFlow sees no GPU. Check that nvidia-smi lists one, and pip install 'tensorflow[and-cuda]'"


def _precision(directory: Path) -> str:
    """Return the precision of the SavedModel. Warn if it is slow on this processor.

    Raises:
        ServeError: it is wrong on this processor.
    """
    if not (directory / MANIFEST_FILE).is_file():
        return "its own"
    precision = _precision_of(Manifest.read(directory))
    if precision == "int8" and fast_int8() is None:
        raise ServeError(
            f"{directory} is an int8 SavedModel, whose sums overflow on this processor: it has none of "
            f"{', '.join(INT8_FLAGS)}. Use --runtime onnx, or export with --precision float32."
        )
    if precision == "bfloat16" and fast_bfloat16() is None:
        _logger.warning(
            "%s is a bfloat16 SavedModel, which is slow on this processor: it has none of %s. "
            "Use --runtime onnx or openvino, or export with --precision float32.",
            directory,
            ", ".join(BFLOAT16_FLAGS),
        )
    return precision


def _default_threads(precision: str) -> int:
    """Return the threads of a computation: one for int8 with AMX, whose products take less time than sharing them."""
    return 1 if precision == "int8" and fast_int8() == "amx_int8" else available_cores()


def _precision_of(manifest: Manifest) -> str:
    """Return the manifest's precision; older bundles with int8 ONNX files have a SavedModel in float32."""
    is_float32 = any(row.format == "saved_model" and row.rtol > 0 for row in manifest.parity)
    return "float32" if is_float32 else manifest.precision


RUNTIME = Runtime(
    "saved_model",
    _MODEL_FILE,
    _load,
    "tensorflow",
    ignores=("model.onnx", "model_standard.onnx"),
    cuda_problem=_cuda_problem,
)
