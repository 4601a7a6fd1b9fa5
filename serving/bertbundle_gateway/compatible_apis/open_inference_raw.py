"""Tensors of the Open Inference Protocol as bytes.

Numbers are little-endian, in row-major order, without padding; each string comes after its length in four bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.wire.data_types import BFLOAT16
from bertbundle_gateway.compatible_apis.open_inference_tensors import (
    DATA_TYPES,
    check_size,
    invalid_tensor,
    shaped,
    tensor_field,
    utf8_values,
)

__all__ = ["RAW_ONLY", "array_from_raw", "raw_from_array"]

RAW_ONLY: Mapping[str, np.dtype[Any]] = {"FP16": np.dtype("<f2"), "BF16": BFLOAT16}
"""The numpy type of each data type that has no form but bytes."""
_TYPES: Mapping[str, np.dtype[Any]] = {
    **{name: np.dtype(dtype).newbyteorder("<") for name, dtype in DATA_TYPES.items()},
    **RAW_ONLY,
}
_LENGTH_BYTES = 4


def array_from_raw(name: str, datatype: str, shape: Sequence[int], data: bytes) -> npt.NDArray[Any]:
    """Return the array of an input tensor; strings are bytes.

    Raises:
        RequestError: the bytes do not have the type or the shape.

    >>> array_from_raw("ids", "INT16", [1, 2], bytes([2, 0, 4, 0])).tolist()
    [[2, 4]]
    """
    field = tensor_field(name)
    if datatype not in _TYPES:
        raise invalid_tensor(field, f"datatype is {datatype!r:.40}, expected one of {', '.join(_TYPES)}")
    if datatype == "BYTES":
        return shaped(field, _strings(field, data), shape)
    dtype = _TYPES[datatype]
    if len(data) % dtype.itemsize:
        raise invalid_tensor(field, f"data has {len(data)} bytes, a {datatype} has {dtype.itemsize}")
    if datatype == "BOOL" and data.strip(b"\0\1"):
        raise invalid_tensor(field, "data has a byte for a BOOL that is neither 0 nor 1")
    check_size(field, shape, len(data) // dtype.itemsize)
    return shaped(field, np.frombuffer(data, dtype), shape)


def _strings(field: str, data: bytes) -> npt.NDArray[Any]:
    strings, start = [], 0
    while start + _LENGTH_BYTES <= len(data):
        begin = start + _LENGTH_BYTES
        start = begin + int.from_bytes(data[start:begin], "little")
        strings.append(data[begin:start])
    if start != len(data):
        raise invalid_tensor(field, "data is not strings, each after its length in four bytes (little-endian)")
    values = np.empty(len(strings), np.object_)
    values[:] = strings
    return values


def raw_from_array(array: npt.NDArray[Any]) -> bytes:
    """Return the bytes of an output tensor.

    >>> raw_from_array(np.array(["a"], object)).hex()
    '0100000061'
    """
    if array.dtype.kind in "OSU":
        return b"".join(len(text).to_bytes(_LENGTH_BYTES, "little") + text for text in utf8_values(array))
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
