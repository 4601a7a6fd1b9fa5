"""What a runtime gives to the rest of the server: arrays in, arrays out, and what it takes and returns."""

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
    "Runtime",
    "RuntimeOptions",
    "Servable",
    "SignatureSpec",
    "TensorSpec",
    "describe",
]


PREDICT_METHOD = "tensorflow/serving/predict"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a signature.

    Attributes:
        name: its alias in requests and responses.
        dtype: numpy dtype; object stands for strings (bytes).
        shape: sizes, None for one that is not fixed; None as a whole if not even the rank is known.
        feed: name of the tensor in the graph, as GetModelMetadata reports it.
        limit: values are in [0, limit); None for any.
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
        inputs, outputs: by name.
        batched: whether the first dimension of every input and output is the same batch.
        method: the kind of signature, one of tensorflow/cc/saved_model/signature_constants.h.
        defaults: values of inputs that a request may leave out.
    """

    name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    batched: bool = False
    method: str = PREDICT_METHOD
    defaults: Arrays = field(default_factory=dict)


class Servable(Protocol):
    """A loaded version of a model. `run` is called from several threads at once."""

    @property
    def signatures(self) -> Mapping[str, SignatureSpec]:
        """The signatures by name."""

    @property
    def description(self) -> str:
        """Runtime, threads and what else the start-up line tells."""

    @property
    def parallel(self) -> int:
        """How many computations at a time it is the fastest with."""

    def run(self, signature: str, inputs: Arrays, outputs: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """Compute the named outputs from inputs that were checked against the signature.

        Raises:
            RequestError: the values are refused.
        """

    def close(self) -> None:
        """Free what the servable holds; it is not used any more."""


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """How to load.

    Attributes:
        threads: threads of one computation; None takes the cores the process may use.
        inter_op_threads: TensorFlow's own pool for independent operations; None leaves it to TensorFlow.
        batch_any: whether calls of a model that is no bundle may be computed together: nobody promises for it that
            rows do not depend on each other.
        precision: of the matrix products, "float32", "bfloat16" or "int8"; "bundle" takes what the bundle was exported
            for: `loader` makes one of the three of it.
        why: why this runtime was chosen, for the start-up line; empty if it was asked for.
    """

    threads: int | None = None
    inter_op_threads: int | None = None
    batch_any: bool = False
    precision: str = "bundle"
    why: str = ""


class GraphNotSupported(ServeError):
    """A runtime cannot compute what is in a file of its; another one may."""


def describe(runtime: str, precision: str, threads: int, why: str) -> str:
    """Return the `Servable.description` of a loaded version."""
    chosen = f" ({why})" if why else ""
    return f"runtime {runtime} precision {precision} threads {threads}{chosen}"


@dataclass(frozen=True, slots=True)
class Runtime:
    """One row of the table of runtimes.

    Attributes:
        name: value of ``--runtime``.
        marker: the file in a version directory that this runtime loads.
        load: loads a version directory. May raise anything: the version is then reported as broken.
        package: what must be installed for ``--runtime auto`` to take it.
        ignores: beginnings of the paths of a bundle's files that it does not read.
        precisions: what ``--precision`` it can compute in; none if that is fixed in its file.
    """

    name: str
    marker: str
    load: Callable[[Path, RuntimeOptions], Servable]
    package: str
    ignores: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
