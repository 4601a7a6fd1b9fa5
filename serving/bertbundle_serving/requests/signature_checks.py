"""Check a request against a signature, in the order in which TensorFlow Serving does, with its texts.

Source of order and texts: tensorflow_serving/servables/tensorflow/{predict_util,saved_model_predict_util}.cc.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.contract.types import Arrays
from bertbundle.wire.tensors import DATA_TYPES
from bertbundle_serving.errors import RequestError
from bertbundle_serving.runtimes.base import SignatureSpec, TensorSpec

__all__ = ["DEFAULT_SIGNATURE", "check_arrays", "check_names", "dtype_text", "find_signature"]

DEFAULT_SIGNATURE = "serving_default"

_DTYPE_NAMES = {row.numpy: row.name for row in DATA_TYPES}


def find_signature(signatures: Mapping[str, SignatureSpec], name: str) -> SignatureSpec:
    """Return the named signature, or the default one for an empty name.

    Raises:
        RequestError: FAILED_PRECONDITION, no such signature.
    """
    signature = signatures.get(name or DEFAULT_SIGNATURE)
    if signature is None:
        raise RequestError("FAILED_PRECONDITION", f'Serving signature key "{name or DEFAULT_SIGNATURE}" not found.')
    return signature


def check_names(signature: SignatureSpec, sent: Collection[str]) -> None:
    """Check that the signature's inputs were sent, those with a default or not, and no others.

    Raises:
        RequestError: INVALID_ARGUMENT, an input is missing or unknown.
    """
    expected = signature.inputs
    required = expected.keys() - signature.defaults.keys()
    if required <= set(sent) <= expected.keys():
        return
    if len(sent) != len(expected):
        raise _invalid(
            f"input size does not match signature: {len(sent)}!={len(expected)} len({_braced(sent)}) != "
            f"len({_braced(expected)}). Sent extra: {_braced(set(sent) - set(expected))}. "
            f"Missing but required: {_braced(required - set(sent))}."
        )
    for name, spec in sorted(expected.items()):
        if name not in sent and name in required:
            # TensorFlow Serving says "expected" and lists what was sent; the text is kept.
            raise _invalid(
                f"Signature input alias: {name}(feed name: {spec.feed}) not found in request and no default value "
                f"provided. Inputs expected to be in the request {_braced(sent)}, or default input alias set: "
                f"{_braced(signature.defaults) if signature.defaults else ''}"
            )


def check_arrays(signature: SignatureSpec, inputs: Arrays, output_filter: Sequence[str]) -> tuple[str, ...]:
    """Check dtypes, the output filter, shapes, then values; return the names of the outputs to compute.

    Raises:
        RequestError: INVALID_ARGUMENT, one of them does not fit the signature.
    """
    for index, (name, spec) in enumerate(sorted(signature.inputs.items())):
        _check_dtype(index, spec.dtype, inputs[name].dtype)
    outputs = _select_outputs(signature, output_filter)
    for name, spec in signature.inputs.items():
        _check_shape(spec, inputs[name].shape, batched=signature.batched)
    if signature.batched:
        _check_batch(inputs)
    for name, spec in signature.inputs.items():
        _check_range(spec, inputs[name])
    return outputs


def _check_dtype(index: int, expected: np.dtype[Any], sent: np.dtype[Any]) -> None:
    if expected != sent:
        raise _invalid(f"Expects arg[{index}] to be {dtype_text(expected)} but {dtype_text(sent)} is provided")


def dtype_text(dtype: np.dtype[Any]) -> str:
    """Return TensorFlow's name of a dtype, as its messages print it."""
    return _DTYPE_NAMES.get(dtype, str(dtype))


def _select_outputs(signature: SignatureSpec, output_filter: Sequence[str]) -> tuple[str, ...]:
    seen: set[str] = set()
    for name in output_filter:
        if name not in signature.outputs:
            raise _invalid(
                f"output tensor alias not found in signature: {name} Outputs expected to be in the set "
                f"{_braced(signature.outputs)}."
            )
        if name in seen:
            raise _invalid(f"duplicate output tensor alias: {name}")
        seen.add(name)
    return tuple(output_filter or signature.outputs)


def _check_shape(spec: TensorSpec, sent: tuple[int, ...], *, batched: bool) -> None:
    """Check the rank and the fixed sizes. TensorFlow Serving leaves it to the graph, which names its own nodes."""
    if spec.shape is None:
        return
    fits = len(sent) == len(spec.shape) and all(
        wanted in (None, size) for wanted, size in zip(spec.shape, sent, strict=True)
    )
    if not fits:
        raise _invalid(f"{spec.name} has shape {list(sent)}, expected {_shape_text(spec.shape, batched=batched)}")


def _shape_text(shape: tuple[int | None, ...], *, batched: bool) -> str:
    sizes = ["?" if size is None else str(size) for size in shape]
    if batched:
        sizes[:1] = ["batch"]
    return f"[{', '.join(sizes)}]"


def _check_batch(inputs: Arrays) -> None:
    sizes = {name: array.shape[0] for name, array in sorted(inputs.items())}
    if len(set(sizes.values())) > 1:
        counts = ", ".join(f"{name} has {size}" for name, size in sizes.items())
        # Source: tensorflow_serving/batching/batching_session.cc; the numbers are ours.
        raise _invalid(f"Batching Run() input tensors must have equal 0th-dimension size: {counts}")


def _check_range(spec: TensorSpec, values: npt.NDArray[Any]) -> None:
    """Refuse ids outside the vocabulary: onnxruntime's Gather counts negative ones from the end, silently."""
    if spec.limit is None:
        return
    wrong = (values < 0) | (values >= spec.limit)
    if wrong.any():
        place = [int(index) for index in np.argwhere(wrong)[0]]
        value = int(values[tuple(place)])
        raise _invalid(f"{spec.name} has {value} at {place}, expected values in [0, {spec.limit})")


def _braced(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _invalid(message: str) -> RequestError:
    return RequestError("INVALID_ARGUMENT", message)
