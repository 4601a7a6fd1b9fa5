"""Turn a PredictRequest into a checked call on a signature. Used for requests and for warmup records alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from bertbundle.contract.types import Arrays
from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.tensors import TensorError, decode_tensor
from bertbundle_serving.errors import RequestError
from bertbundle_serving.requests.signature_checks import check_arrays, check_names, find_signature
from bertbundle_serving.runtimes.base import Servable, SignatureSpec

__all__ = ["Call", "make_call", "read_call"]


@dataclass(frozen=True, slots=True)
class Call:
    """One computation that was checked and may run.

    Attributes:
        signature: resolved signature name.
        inputs: the signature's inputs.
        outputs: names of the outputs wanted.
        row_shapes: what must be equal in calls that are computed together: the inputs' shapes but for the rows. None
            for a call that is computed alone.
    """

    signature: str
    inputs: Arrays
    outputs: tuple[str, ...]
    row_shapes: tuple[tuple[int, ...], ...] | None = None

    @property
    def rows(self) -> int:
        """The number of rows of its inputs; 1 if they have none."""
        shape = next(iter(self.inputs.values())).shape if self.inputs else ()
        return shape[0] if shape else 1

    def run(self, servable: Servable) -> dict[str, npt.NDArray[Any]]:
        """Compute the outputs; see `Servable.run`."""
        return servable.run(self.signature, self.inputs, self.outputs)


def read_call(request: wire.PredictRequest, signatures: Mapping[str, SignatureSpec]) -> Call:
    """Decode a request and check it against the signature it names.

    Raises:
        RequestError: with the code and the text of TensorFlow Serving.
    """
    signature = find_signature(signatures, request.model_spec.signature_name)
    check_names(signature, set(request.inputs))
    sent = {name: _decode(name, request.inputs[name]) for name in sorted(request.inputs)}
    inputs = {name: sent[name] if name in sent else signature.defaults[name] for name in sorted(signature.inputs)}
    return make_call(signature, inputs, request.output_filter)


def make_call(signature: SignatureSpec, inputs: Arrays, output_filter: Sequence[str] = ()) -> Call:
    """Check decoded inputs, all of a signature's by name, and return the call.

    Raises:
        RequestError: as `read_call`.
    """
    outputs = check_arrays(signature, inputs, output_filter)
    shapes = tuple(array.shape for array in inputs.values())
    # A batch of 0 rows is computed alone: there is nothing of it to put together.
    joins = signature.batched and all(shape and shape[0] for shape in shapes)
    return Call(signature.name, inputs, outputs, tuple(shape[1:] for shape in shapes) if joins else None)


def _decode(name: str, tensor: wire.Tensor) -> npt.NDArray[Any]:
    try:
        return decode_tensor(tensor)
    except TensorError as error:
        raise RequestError("INVALID_ARGUMENT", f"tensor parsing error: {name}") from error
