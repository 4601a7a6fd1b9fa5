"""The SavedModel runtime: any SavedModel with signatures, computed by TensorFlow, which is imported on first use."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.errors import ServeError
from bertbundle.manifest import MANIFEST_FILE
from bertbundle.primitives import Arrays
from bertbundle_serving.cores import available_cores
from bertbundle_serving.errors import CODES, RequestError
from bertbundle_serving.runtimes.base import Runtime, RuntimeOptions, Servable, SignatureSpec, TensorSpec

__all__ = ["RUNTIME", "SavedModelServable"]

_logger = logging.getLogger(__name__)


class SavedModelServable:
    """The signatures of a SavedModel, each a TensorFlow function."""

    def __init__(self, tf: Any, loaded: Any, *, batched: bool, threads: int) -> None:
        self._tf = tf
        # The functions hold their variables weakly: the loaded object must live as long as they do.
        self._loaded = loaded
        self._functions: dict[str, Any] = dict(loaded.signatures)
        self.signatures: Mapping[str, SignatureSpec] = {
            name: _signature(name, function, batched=batched) for name, function in self._functions.items()
        }
        self.description = f"runtime saved_model threads {threads}"

    def run(self, signature: str, inputs: Arrays, outputs: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """Compute the named outputs of a signature; see `Servable.run`. TensorFlow's errors keep code and text."""
        try:
            # With the dtype, because an empty array of strings does not tell it.
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


def _signature(name: str, function: Any, *, batched: bool) -> SignatureSpec:
    _, inputs = function.structured_input_signature
    return SignatureSpec(
        name,
        {alias: _tensor(alias, spec, f"{name}_{alias}:0") for alias, spec in inputs.items()},
        {
            alias: _tensor(alias, spec, f"StatefulPartitionedCall:{index}")
            for index, (alias, spec) in enumerate(sorted(function.structured_outputs.items()))
        },
        batched=batched,
    )


def _tensor(alias: str, spec: Any, feed: str) -> TensorSpec:
    shape = None if spec.shape.rank is None else tuple(spec.shape.as_list())
    return TensorSpec(alias, np.dtype(spec.dtype.as_numpy_dtype), shape, feed)


def _tensorflow(threads: int) -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors only; read when TensorFlow is imported
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ServeError(
            "TensorFlow is not installed, the saved_model runtime needs it: pip install 'bertbundle-toolkit[export]'."
        ) from error
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    except RuntimeError:  # TensorFlow has started its threads already: the first model decided
        _logger.debug("TensorFlow keeps its number of threads")
    return tf


def _load(directory: Path, options: RuntimeOptions) -> Servable:
    threads = options.threads or available_cores()
    tf = _tensorflow(threads)
    loaded = tf.saved_model.load(str(directory), tags=["serve"])
    if not loaded.signatures:
        raise ServeError(f"the SavedModel in {directory} has no signatures. Save it with signatures=....")
    # Only a bundle promises that the first dimension of everything is one batch.
    batched = (directory / MANIFEST_FILE).is_file()
    return SavedModelServable(tf, loaded, batched=batched, threads=threads)


RUNTIME = Runtime("saved_model", "saved_model.pb", _load)
