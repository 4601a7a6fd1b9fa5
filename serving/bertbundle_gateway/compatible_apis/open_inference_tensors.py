"""The tensors of the Open Inference Protocol: data types, and tensors as JSON."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from bertbundle.wire.data_types import BFLOAT16
from bertbundle_gateway.core.errors import RequestError, invalid_request

__all__ = [
    "DATA_TYPES",
    "array_from_values",
    "check_size",
    "convert",
    "data_type",
    "invalid_tensor",
    "json_tensor",
    "shaped",
    "tensor_field",
    "utf8_values",
]

DATA_TYPES: Mapping[str, Any] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,
}
"""The numpy type of each data type of the protocol, except FP16 and BF16, which are bytes only."""
_MAX_INLINE_BYTES = 16_384
"""To convert the tensors of a larger message would block the event loop."""
_OTHER_FORMS = "Ask for binary data, or use gRPC."
_MAX_RANK = 64
"""Of an array of numpy."""
_NAMES: Mapping[Any, str] = {
    **{np.dtype(dtype): name for name, dtype in DATA_TYPES.items()},
    np.dtype(np.float16): "FP16",
    BFLOAT16: "BF16",
}


_P = ParamSpec("_P")
_T = TypeVar("_T")


async def convert(size: int, function: Callable[_P, _T], *arguments: _P.args, **options: _P.kwargs) -> _T:
    """Return what a function makes of tensors; it is called in a thread if they would block the event loop.

    Args:
        size: number of bytes of the tensors; 8 for each string of an array.
        function: the function.
        *arguments: its arguments.
        **options: its keyword arguments.
    """
    if size > _MAX_INLINE_BYTES:
        return await asyncio.to_thread(function, *arguments, **options)
    return function(*arguments, **options)


def data_type(array: npt.NDArray[Any]) -> str:
    """Return the protocol's name of an array's type.

    Raises:
        RequestError: it has none, as complex numbers.

    >>> data_type(np.zeros(1, np.float32))
    'FP32'
    """
    name = "BYTES" if array.dtype.kind in "OSU" else _NAMES.get(array.dtype)
    if name is None:
        message = f"An output is of type {array.dtype}, which the protocol does not have. Use TensorFlow Serving's."
        raise RequestError("UNIMPLEMENTED", "NOT_SUPPORTED", message)
    return name


def tensor_field(name: str) -> str:
    """Return how errors name an input tensor.

    >>> tensor_field("text")
    "inputs['text']"
    """
    return f"inputs[{name!r:.60}]"


def invalid_tensor(field: str, problem: str) -> RequestError:
    """Return the error of an input tensor."""
    return invalid_request("INVALID_TENSOR", f"{field}: {problem}.", field=field)


def shaped(field: str, values: npt.NDArray[Any], shape: Sequence[int]) -> npt.NDArray[Any]:
    """Return flat values in a shape.

    Raises:
        RequestError: the shape has another number of elements, or is not one of an array.
    """
    check_size(field, shape, len(values))
    try:
        return values.reshape(list(shape))
    except ValueError as error:  # as [0, 2**62, 2**62]
        raise invalid_tensor(field, f"shape {list(shape)} is not that of an array") from error


def check_size(field: str, shape: Sequence[int], found: int) -> None:
    """Check that the shape of a tensor has as many elements as were found.

    Raises:
        RequestError: it has another number, or it is not the shape of an array.
    """
    if len(shape) > _MAX_RANK:
        raise invalid_tensor(field, f"shape has {len(shape)} dimensions, at most {_MAX_RANK} are accepted")
    if min(shape, default=0) < 0:
        raise invalid_tensor(field, f"shape {list(shape)} has a negative dimension")
    size = math.prod(shape)
    if found != size:
        raise invalid_tensor(field, f"shape {list(shape)} has {size} elements, data has {found}")


def utf8_values(array: npt.NDArray[Any]) -> list[bytes]:
    """Return the strings of an array as bytes, in row-major order."""
    return [value if isinstance(value, bytes) else str(value).encode() for value in array.ravel()]


def array_from_values(name: str, datatype: str, shape: Sequence[int], values: Any) -> npt.NDArray[Any]:
    """Return an array of values in row-major order, nested or flat.

    Raises:
        RequestError: the values do not have the type or the shape.
    """
    field = tensor_field(name)
    if datatype not in DATA_TYPES:
        raise invalid_tensor(field, f"datatype is {datatype!r:.40}, expected one of {', '.join(DATA_TYPES)}")
    flat = _flatten(values)
    check_size(field, shape, len(flat))
    if any(not isinstance(value, _PYTHON_TYPES[datatype[:2]]) for value in flat) or _has_bool(datatype, flat):
        raise invalid_tensor(field, f"data has values that are not {datatype}")
    if len(flat) != len(values) and _shape(values) != list(shape):
        raise invalid_tensor(field, f"data is not nested as shape {list(shape)}. Nest it so, or send it flat")
    try:
        with np.errstate(over="raise"):
            return np.array(flat, DATA_TYPES[datatype]).reshape(list(shape))
    except (OverflowError, ValueError, FloatingPointError) as error:
        raise invalid_tensor(field, f"data has values that are out of the range of {datatype}") from error


_PYTHON_TYPES: Mapping[str, Any] = {
    "BO": bool,
    "UI": int,
    "IN": int,
    "FP": (int, float),
    "BY": (str, bytes),
}


def _has_bool(datatype: str, values: Sequence[Any]) -> bool:
    """Return whether numbers have a bool among them, which is an int in Python."""
    return datatype not in ("BOOL", "BYTES") and any(isinstance(value, bool) for value in values)


def _shape(values: Any, rank: int = _MAX_RANK) -> list[int]:
    """Return the shape of nested lists; one that no array has if they are too deep, or not of equal length."""
    if not isinstance(values, list):
        return []
    shapes = [_shape(value, rank - 1) for value in values] if rank else [[], [-1]]
    return [len(values), *(shapes[0] if all(shape == shapes[0] for shape in shapes) else [-1])] if shapes else [0]


def _flatten(values: Any) -> list[Any]:
    """Return the values of nested lists in order, in time that does not depend on their depth."""
    flat: list[Any] = []
    open_lists = [iter(values)]
    while open_lists:
        for value in open_lists[-1]:
            if isinstance(value, list):
                open_lists.append(iter(value))
                break
            flat.append(value)
        else:
            open_lists.pop()
    return flat


def json_tensor(name: str, array: npt.NDArray[Any]) -> dict[str, Any]:
    """Return a tensor as JSON, with flat data.

    Raises:
        RequestError: it has what JSON does not have: NaN, infinity, bytes that are not UTF-8, FP16 or BF16.
    """
    flat, datatype = array.ravel(), data_type(array)
    if datatype not in DATA_TYPES:
        message = f"The output {name} is of type {datatype}, which has no form in JSON. {_OTHER_FORMS}"
        raise RequestError("UNIMPLEMENTED", "NOT_SUPPORTED", message)
    if flat.dtype.kind == "f" and not np.isfinite(flat).all():
        message = f"The output {name} has NaN or infinity, which JSON does not have. {_OTHER_FORMS}"
        raise RequestError("INTERNAL", "NOT_FINITE", message)
    values = [_text(name, value) for value in flat] if flat.dtype.kind in "OSU" else np.ascontiguousarray(flat)
    return {"name": name, "datatype": datatype, "shape": list(array.shape), "data": values}


def _text(name: str, value: Any) -> str:
    try:
        return value.decode() if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError as error:
        message = f"The output {name} is not UTF-8, which JSON does not have. {_OTHER_FORMS}"
        raise RequestError("FAILED_PRECONDITION", "NOT_UTF8", message) from error
