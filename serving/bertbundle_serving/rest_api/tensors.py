"""Convert between JSON values and arrays.

Source of the rules and error messages: tensorflow_serving/util/json_tensor.cc.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.contract.types import Arrays
from bertbundle_serving.errors import RequestError, invalid_argument
from bertbundle_serving.requests.call import dtype_text
from bertbundle_serving.rest_api.json_parser import json_text
from bertbundle_serving.rest_api.values import are_integers, is_base64, to_value
from bertbundle_serving.runtimes.base import TensorSpec

__all__ = ["column_inputs", "row_inputs", "to_json_values"]

_Array = npt.NDArray[Any]

# Dimensions of a tensor in TensorFlow. numpy has fewer.
_MAX_DIMENSIONS = 254


class _TooManyDimensions(RequestError):
    """The lists of a value are nested too deeply for an array."""

    def __init__(self, spec: TensorSpec) -> None:
        super().__init__("INVALID_ARGUMENT", f"tensor parsing error: {spec.name}")


def row_inputs(instances: Any, inputs: Mapping[str, TensorSpec], document: Mapping[str, Any]) -> dict[str, _Array]:
    """Return the inputs of a request in the row format.

    Args:
        instances: a list with one element per row: an object with a value per input, or the value of the only input.
        inputs: the inputs of the signature.
        document: the whole request, for error messages.

    Raises:
        RequestError: INVALID_ARGUMENT, the instances do not fit the inputs.
    """
    if not isinstance(instances, list):
        raise invalid_argument(f"JSON Value: {json_text(document)} Expecting 'instances' to be an list/array")
    if not instances:
        raise invalid_argument(f"JSON Value: {json_text(document)} No values in 'instances' array")
    named = _is_named(instances[0])
    if not isinstance(instances[0], dict) and len(inputs) > 1:
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    rows: dict[str, list[_Array]] = {}
    for index, element in enumerate(instances):
        if _is_named(element) != named:
            mismatch = "object but got list" if named else "value/list but got object"
            raise invalid_argument(f"Expecting {mismatch} at item {index} of input list")
        _add_row(rows, index, element if named else {next(iter(inputs)): element}, inputs, named=named)
    return {name: _stack(inputs[name], arrays) for name, arrays in rows.items()}


def _is_named(element: Any) -> bool:
    return isinstance(element, dict) and not is_base64(element)


def _add_row(
    rows: dict[str, list[_Array]],
    index: int,
    element: Mapping[str, Any],
    inputs: Mapping[str, TensorSpec],
    *,
    named: bool,
) -> None:
    for name, value in element.items():
        try:
            if name not in inputs:
                raise invalid_argument(f"JSON object: does not have named input: {name}")
            array = _to_array(value, inputs[name])
            _check_same_shape(rows.setdefault(name, [array])[0], array)
        except _TooManyDimensions:
            raise
        except RequestError as error:
            key = f" key: {name}" if named else ""
            text = f"Failed to process element: {index}{key} of 'instances' list. Error: {error.code}: {error.message}"
            raise invalid_argument(text) from error
        if index:
            rows[name].append(array)
    if element.keys() != inputs.keys():
        raise invalid_argument(
            f"Failed to process element: {index} of 'instances' list. JSON object: {json_text(element)} keys must be "
            f"equal to: {','.join(sorted(inputs))}"
        )


def _check_same_shape(first: _Array, array: _Array) -> None:
    if first.size != array.size:
        raise invalid_argument(f"Expecting tensor size: {first.size} but got: {array.size}")
    if first.shape != array.shape:
        raise invalid_argument(f"Expecting shape {_shape(first)} but got: {_shape(array)}")


def _shape(array: _Array) -> str:
    return f"[{','.join(map(str, array.shape))}]"


def _stack(spec: TensorSpec, arrays: Sequence[_Array]) -> _Array:
    try:
        stacked: _Array = np.empty((len(arrays), *arrays[0].shape), spec.dtype)
    except ValueError as error:
        raise _TooManyDimensions(spec) from error
    for index, array in enumerate(arrays):
        stacked[index] = array[()]  # for a 0-dimensional array, its only value
    return stacked


def column_inputs(value: Any, inputs: Mapping[str, TensorSpec]) -> dict[str, _Array]:
    """Return the inputs of a request in the column format.

    Args:
        value: an object with a value per input, or the value of the only input.
        inputs: the inputs of the signature.

    Raises:
        RequestError: INVALID_ARGUMENT, the value does not fit the inputs.
    """
    if not isinstance(value, dict) or is_base64(value):
        if len(inputs) > 1:
            raise invalid_argument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        return {name: _to_array(value, spec) for name, spec in inputs.items()}
    missing = sorted(inputs.keys() - value.keys())
    if missing:
        raise invalid_argument(f"Missing named input: {missing[0]} in 'inputs' object.")
    return {name: _to_array(value[name], spec) for name, spec in inputs.items()}


def _to_array(value: Any, spec: TensorSpec) -> _Array:
    shape: list[int] = []
    first = value
    while isinstance(first, list):
        shape.append(len(first))
        first = first[0] if first else None
    if len(shape) > _MAX_DIMENSIONS:
        raise _TooManyDimensions(spec)
    flat: list[Any] = []
    _flatten(flat, value, 0, shape, spec.dtype)
    array: _Array = np.empty(len(flat), spec.dtype)
    with np.errstate(over="ignore"):  # a double beyond the range of float becomes an infinity
        array[:] = flat
    try:
        return array.reshape(shape)
    except ValueError as error:
        raise _TooManyDimensions(spec) from error


def _flatten(flat: list[Any], value: Any, level: int, shape: Sequence[int], dtype: np.dtype[Any]) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid_argument(
                f"JSON Value: {json_text(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {len(shape)}"
            )
        flat.append(to_value(value, dtype))
        return
    if level >= len(shape):
        raise invalid_argument(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid_argument(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    if level == len(shape) - 1 and are_integers(value, dtype):
        flat.extend(value)
        return
    for item in value:
        _flatten(flat, item, level + 1, shape, dtype)


def to_json_values(outputs: Arrays) -> dict[str, Any]:
    """Return outputs as JSON values. Strings of outputs named ``..._bytes`` become ``{"b64": "..."}``.

    Raises:
        RequestError: INVALID_ARGUMENT, a dtype has no JSON form.
    """
    return {name: _json_value(name, array) for name, array in outputs.items()}


def _json_value(name: str, array: _Array) -> Any:
    if array.dtype == object:
        return _json_strings(array.tolist(), as_bytes=name.endswith("_bytes"))
    if array.size and (array.dtype.kind not in "fiub" or array.dtype == np.uint16):
        raise invalid_argument(f"Failed to write JSON value for tensor type: {dtype_text(array.dtype)}")
    if array.dtype in (np.float32, np.float16):
        if array.ndim > 1:  # row by row, because numpy needs 128 bytes per number and holds the GIL meanwhile
            return [_json_value(name, row) for row in array]
        # The shortest text that parses to the same number; converting float32 to double would add spurious digits.
        return array.astype(np.str_).astype(np.float64).tolist()
    return array.tolist()


def _json_strings(value: Any, *, as_bytes: bool) -> Any:
    if isinstance(value, list):
        return [_json_strings(item, as_bytes=as_bytes) for item in value]
    data = value if isinstance(value, bytes) else str(value).encode()
    return {"b64": base64.b64encode(data).decode()} if as_bytes else data.decode(errors="replace")
