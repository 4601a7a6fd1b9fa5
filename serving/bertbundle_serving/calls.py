"""Turn a PredictRequest into a checked call on a signature. Used for requests and for warmup records alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from bertbundle import _wire_pb2 as wire
from bertbundle.primitives import Arrays
from bertbundle.tensors import TensorError, decode_tensor
from bertbundle_serving.checks import check_arrays, check_names, find_signature
from bertbundle_serving.errors import RequestError
from bertbundle_serving.runtimes.base import Servable, SignatureSpec

__all__ = ["Call", "read_call"]


@dataclass(frozen=True, slots=True)
class Call:
    """One computation that was checked and may run.

    Attributes:
        signature: resolved signature name.
        inputs: the signature's inputs.
        outputs: names of the outputs wanted.
    """

    signature: str
    inputs: Arrays
    outputs: tuple[str, ...]

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
    inputs = {name: _decode(name, request.inputs[name]) for name in sorted(signature.inputs)}
    return Call(signature.name, inputs, check_arrays(signature, inputs, request.output_filter))


def _decode(name: str, tensor: wire.Tensor) -> npt.NDArray[Any]:
    try:
        return decode_tensor(tensor)
    except TensorError as error:
        raise RequestError("INVALID_ARGUMENT", f"tensor parsing error: {name}") from error
