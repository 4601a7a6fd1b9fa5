"""Decode a PredictRequest and check it against a signature, in TensorFlow Serving's order and with its messages.

Source: tensorflow_serving/servables/tensorflow/{predict_util,saved_model_predict_util}.cc and
tensorflow/cc/saved_model/util.cc.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.contract.types import Arrays
from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.data_types import DATA_TYPES
from bertbundle.wire.tensors import TensorError, decode_tensor
from bertbundle_serving.errors import RequestError, invalid_argument
from bertbundle_serving.runtimes.base import SignatureSpec, TensorSpec

__all__ = [
    "DEFAULT_SIGNATURE",
    "SignatureCall",
    "dtype_text",
    "find_signature",
    "make_call",
    "read_call",
    "read_inputs",
]

DEFAULT_SIGNATURE = "serving_default"

_DTYPE_NAMES = {row.numpy: row.name for row in DATA_TYPES}


@dataclass(frozen=True, slots=True)
class SignatureCall:
    """A call of a signature, checked and ready to be computed.

    Attributes:
        signature: name of the signature.
        inputs: arrays by input name.
        outputs: names of the outputs to compute.
        rows: number of rows; 1 if the call must not be batched with others.
        row_shapes: shapes of the inputs without the batch dimension: only calls with equal shapes are batched
            together. None if the call must not be batched with others.
    """

    signature: str
    inputs: Arrays
    outputs: tuple[str, ...]
    rows: int = 1
    row_shapes: tuple[tuple[int, ...], ...] | None = None


def read_call(request: wire.PredictRequest, signatures: Mapping[str, SignatureSpec]) -> SignatureCall:
    """Decode a request and check it against the signature it names.

    Raises:
        RequestError: with TensorFlow Serving's code and message.
    """
    signature = find_signature(signatures, request.model_spec.signature_name)
    inputs = read_inputs(signature, request.inputs, decode_tensor)
    return make_call(signature, inputs, request.output_filter)


def make_call(signature: SignatureSpec, inputs: Arrays, output_filter: Sequence[str] = ()) -> SignatureCall:
    """Check arrays against a signature and return the call.

    Args:
        signature: the signature to call.
        inputs: an array for every input of the signature.
        output_filter: names of the outputs to compute; empty for all.

    Raises:
        RequestError: INVALID_ARGUMENT, the inputs or the output filter do not fit the signature.
    """
    outputs = _select_outputs(signature, output_filter)
    _check_dtypes(signature, inputs)
    for name, spec in signature.inputs.items():
        if signature.checks_shapes:
            _check_shape(spec, inputs[name].shape, batched=signature.batched)
    if signature.batched:
        _check_row_counts(inputs)
    for name, spec in signature.inputs.items():
        _check_range(spec, inputs[name])
    shapes = tuple(array.shape for array in inputs.values())
    # A call of 0 rows would add nothing to a batch.
    if signature.batched and shapes and all(shape and shape[0] for shape in shapes):
        return SignatureCall(signature.name, inputs, outputs, shapes[0][0], tuple(shape[1:] for shape in shapes))
    return SignatureCall(signature.name, inputs, outputs)


def find_signature(signatures: Mapping[str, SignatureSpec], name: str) -> SignatureSpec:
    """Return the signature with this name; the default signature if the name is empty.

    Raises:
        RequestError: FAILED_PRECONDITION, no such signature.
    """
    signature = signatures.get(name or DEFAULT_SIGNATURE)
    if signature is None:
        raise RequestError("FAILED_PRECONDITION", f'Serving signature key "{name or DEFAULT_SIGNATURE}" not found.')
    return signature


def dtype_text(dtype: np.dtype[Any]) -> str:
    """Return TensorFlow's name of a dtype, as used in its messages."""
    return _DTYPE_NAMES.get(dtype, str(dtype))


def read_inputs(signature: SignatureSpec, sent: Mapping[str, Any], decode: Callable[[Any], npt.NDArray[Any]]) -> Arrays:
    """Return an array for every input of a signature: decoded from the request, or the default.

    Raises:
        RequestError: INVALID_ARGUMENT, an input is missing, unknown or malformed.
    """
    _check_count(signature, sent)
    inputs, name = {}, ""
    try:
        for name in sorted(signature.inputs):
            if name in sent:
                inputs[name] = decode(sent[name])
            elif name in signature.defaults:
                inputs[name] = signature.defaults[name]
            else:
                raise _missing_input(signature, name, sent)
    except TensorError as error:
        raise invalid_argument(f"tensor parsing error: {name}") from error
    if not set(sent) <= signature.inputs.keys():
        used = sorted(set(sent) & signature.inputs.keys())
        raise invalid_argument(
            f"Inputs contains invalid name. Used request inputs: {','.join(used)}, "
            f"request input: {','.join(sorted(sent))}"
        )
    return inputs


def _missing_input(signature: SignatureSpec, name: str, sent: Mapping[str, Any]) -> RequestError:
    return invalid_argument(
        f"Signature input alias: {name}(feed name: {signature.inputs[name].feed}) not found in request and no default "
        f"value provided. Inputs expected to be in the request {_braced(sent)}, or default input alias set: "
        f"{','.join(sorted(signature.defaults))}"
    )


def _check_count(signature: SignatureSpec, sent: Mapping[str, Any]) -> None:
    """Check that there are not more inputs than the signature has, nor fewer if it has no defaults."""
    expected = signature.inputs
    if len(sent) == len(expected) or (len(sent) < len(expected) and signature.defaults):
        return
    raise invalid_argument(
        f"input size does not match signature: {len(sent)}!={len(expected)} len({_braced(sent)}) != "
        f"len({_braced(expected)}). Sent extra: {_braced(set(sent) - expected.keys())}. "
        f"Missing but required: {_braced(expected.keys() - set(sent))}."
    )


def _check_dtypes(signature: SignatureSpec, inputs: Arrays) -> None:
    for index, (name, spec) in enumerate(sorted(signature.inputs.items())):
        expected, sent = dtype_text(spec.dtype), dtype_text(inputs[name].dtype)
        if spec.dtype != inputs[name].dtype:
            raise invalid_argument(f"Expects arg[{index}] to be {expected} but {sent} is provided")


def _select_outputs(signature: SignatureSpec, output_filter: Sequence[str]) -> tuple[str, ...]:
    seen: set[str] = set()
    for name in output_filter:
        if name not in signature.outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {name} Outputs expected to be in the set "
                f"{_braced(signature.outputs)}."
            )
        if name in seen:
            raise invalid_argument(f"duplicate output tensor alias: {name}")
        seen.add(name)
    return tuple(output_filter or signature.outputs)


def _check_shape(spec: TensorSpec, sent: tuple[int, ...], *, batched: bool) -> None:
    """Check the rank and the fixed sizes. In TensorFlow Serving the graph does this; its errors name graph nodes."""
    if spec.shape is None:
        return
    fits = len(sent) == len(spec.shape) and all(
        expected in (None, size) for expected, size in zip(spec.shape, sent, strict=True)
    )
    if not fits:
        raise invalid_argument(
            f"{spec.name} has shape {list(sent)}, expected {_shape_text(spec.shape, batched=batched)}"
        )


def _shape_text(shape: tuple[int | None, ...], *, batched: bool) -> str:
    sizes = ["?" if size is None else str(size) for size in shape]
    if batched:
        sizes[:1] = ["batch"]
    return f"[{', '.join(sizes)}]"


def _check_row_counts(inputs: Arrays) -> None:
    if not all(array.ndim for array in inputs.values()):
        raise invalid_argument("Batching Run() input tensors must have at least one dimension.")
    sizes = {name: array.shape[0] for name, array in sorted(inputs.items())}
    if len(set(sizes.values())) > 1:
        counts = ", ".join(f"{name} has {size}" for name, size in sizes.items())
        # Source: tensorflow_serving/batching/batching_session.cc, without the counts.
        raise invalid_argument(f"Batching Run() input tensors must have equal 0th-dimension size: {counts}")


def _check_range(spec: TensorSpec, values: npt.NDArray[Any]) -> None:
    """Reject ids outside the vocabulary: onnxruntime's Gather silently counts negative ids from the end."""
    if spec.limit is None:
        return
    wrong = (values < 0) | (values >= spec.limit)
    if wrong.any():
        index = [int(number) for number in np.argwhere(wrong)[0]]
        value = int(values[tuple(index)])
        raise invalid_argument(f"{spec.name} has {value} at {index}, expected values in [0, {spec.limit})")


def _braced(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
