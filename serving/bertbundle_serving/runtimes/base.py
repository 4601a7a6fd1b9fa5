"""The interface of a runtime: a servable has signatures and computes output arrays from input arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bertbundle.contract.types import Arrays
from bertbundle_serving.errors import ServeError

__all__ = [
    "PREDICT_METHOD",
    "GraphNotSupported",
    "Outputs",
    "Runtime",
    "RuntimeOptions",
    "Servable",
    "SignatureSpec",
    "TensorSpec",
    "describe",
]

PREDICT_METHOD = "tensorflow/serving/predict"

Outputs = dict[str, npt.NDArray[Any]]
"""Arrays by output name."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a signature.

    Attributes:
        name: alias in requests and responses.
        dtype: numpy dtype; object for strings, which are bytes.
        shape: size of each dimension, None if it is not fixed; None instead of a tuple if the rank is unknown.
        feed: name of the tensor in the graph, as GetModelMetadata reports it.
        limit: values must be in [0, limit); None allows any value.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...] | None
    feed: str
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class SignatureSpec:
    """One way to call a model.

    Attributes:
        name: signature name, for example ``"serving_default"``.
        inputs, outputs: tensors by name.
        batched: whether the first dimension of every input and output is the batch dimension.
        method: one of the method names in tensorflow/cc/saved_model/signature_constants.h.
        defaults: values of inputs that a request may omit.
        checks_shapes: whether inputs must have the declared shapes; otherwise the graph decides which shapes it takes.
    """

    name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    batched: bool = False
    method: str = PREDICT_METHOD
    defaults: Arrays = field(default_factory=dict)
    checks_shapes: bool = True


class Servable(Protocol):
    """A loaded version of a model. Several threads may call `run` at the same time."""

    @property
    def signatures(self) -> Mapping[str, SignatureSpec]:
        """The signatures by name."""

    @property
    def description(self) -> str:
        """Runtime, precision and threads, as the start-up line prints them."""

    @property
    def concurrency(self) -> int:
        """The number of concurrent computations that gives the highest throughput; it may change."""

    @property
    def threads(self) -> int:
        """The number of cores that a computation uses if no other computation is running."""

    def prepare_for_load(self) -> None:
        """Prepare for concurrent computations, after calls have been waiting for a while. Runs in a thread."""

    def run(self, signature: str, inputs: Arrays, outputs: Sequence[str]) -> Outputs:
        """Compute the named outputs from inputs that were checked against the signature.

        Raises:
            RequestError: the model rejects the values.
        """

    def close(self) -> None:
        """Free the servable's memory. It must not be used afterwards."""


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """How to load a version.

    Attributes:
        threads: threads per computation; None uses all available cores.
        inter_op_threads: TensorFlow's threads for independent operations; None is TensorFlow's default.
        batch_non_bundles: whether calls to models that are not bundles are batched, although nothing guarantees that
            their rows are independent.
        precision: precision of the matrix products, "float32", "bfloat16" or "int8". "bundle" is the precision that the
            bundle was exported in; `loader` replaces it with one of the three.
        reason: why this runtime was chosen, for the start-up line; empty if the user chose it.
    """

    threads: int | None = None
    inter_op_threads: int | None = None
    batch_non_bundles: bool = False
    precision: str = "bundle"
    reason: str = ""


class GraphNotSupported(ServeError):
    """The runtime does not support an operation in its model file; another runtime may."""


def describe(runtime: str, precision: str, threads: int, reason: str) -> str:
    """Return the `Servable.description` of a loaded version.

    >>> describe("onnx", "float32", 2, "auto: openvino is not installed")
    'runtime onnx precision float32 threads 2 (auto: openvino is not installed)'
    """
    suffix = f" ({reason})" if reason else ""
    return f"runtime {runtime} precision {precision} threads {threads}{suffix}"


@dataclass(frozen=True, slots=True)
class Runtime:
    """One row of the table `RUNTIMES`.

    Attributes:
        name: value of ``--runtime``.
        model_file: the file in a version directory that this runtime loads.
        load: loads a version directory. Any exception marks the version as broken.
        package: the Python package it needs; ``--runtime auto`` skips the runtime if it is not installed.
        ignores: path prefixes of the bundle's files that it does not read.
        precisions: supported values of ``--precision``; empty if the model file fixes the precision.
    """

    name: str
    model_file: str
    load: Callable[[Path, RuntimeOptions], Servable]
    package: str
    ignores: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
