"""Convert between numpy arrays and TensorFlow Serving's tensors.

A server sends the ``*_val`` fields, or ``tensor_content`` if it was started with
``--enable_serialization_as_tensor_content``; both are decoded without a Python object per number. The client always
sends ``tensor_content``.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from bertbundle.contract.types import Arrays
from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.data_types import BY_DTYPE, BY_NUMBER, FIXED_WIDTH, DataType, dtype_name

__all__ = [
    "TensorError",
    "decode_tensor",
    "decode_tensors",
    "encode_tensor",
    "encode_tensors",
    "tensor_shape",
]

_Array = npt.NDArray[Any]


class TensorError(ValueError):
    """A malformed tensor: unknown dtype, invalid shape, or too many or malformed values."""


_MAX_ELEMENTS = 2**31
# The last value of a tensor is repeated up to the size of its shape, so a few bytes can declare a huge tensor. Limit a
# repeated tensor to 2**24 elements, for example [32, 512, 1024].
_MAX_FILLED = 2**24


def tensor_shape(shape: Sequence[int]) -> wire.TensorShape:
    """Create a shape message; -1 stands for an unknown dimension."""
    return wire.TensorShape(dim=[wire.TensorShape.Dim(size=size) for size in shape])


def _data_type_of(array: _Array) -> DataType:
    if array.dtype.kind in "OSU":
        return BY_NUMBER[7]
    data_type = BY_DTYPE.get(array.dtype.newbyteorder("<"))
    if data_type is None:
        raise TypeError(f"no tensor dtype for numpy dtype {array.dtype}")
    return data_type


def _to_bytes(value: object) -> bytes:
    if not isinstance(value, str | bytes):
        raise TypeError(f"no tensor dtype for {type(value).__name__}, expected str or bytes")
    return value if isinstance(value, bytes) else value.encode()


def encode_tensor(array: _Array, *, as_content: bool = True) -> wire.Tensor:
    """Encode an array; numbers go to ``tensor_content``, or with ``as_content=False`` to their ``*_val`` field.

    Raises:
        TypeError: the array's dtype is not supported, or an object in it is not str or bytes.

    >>> encode_tensor(np.array([[1, 2]], np.int32)).tensor_content.hex()
    '0100000002000000'
    """
    data_type = _data_type_of(array)
    tensor = wire.Tensor(dtype=data_type.number, tensor_shape=tensor_shape(array.shape))
    if data_type.name == "string":
        tensor.string_val.extend(_to_bytes(value) for value in array.reshape(-1).tolist())
        return tensor
    values = np.ascontiguousarray(array, dtype=data_type.numpy)
    if as_content:
        tensor.tensor_content = values.tobytes()
    elif values.size:
        getattr(tensor, data_type.field).append(_pack(values.reshape(-1).view(data_type.stored), data_type))
    return tensor


def encode_tensors(arrays: Arrays, *, as_content: bool = True) -> dict[str, wire.Tensor]:
    """Encode arrays by name; see `encode_tensor`."""
    return {name: encode_tensor(array, as_content=as_content) for name, array in arrays.items()}


def decode_tensors(tensors: Any) -> dict[str, _Array]:
    """Decode tensors by name; see `decode_tensor`."""
    return {name: decode_tensor(tensor) for name, tensor in tensors.items()}


def decode_tensor(tensor: wire.Tensor) -> _Array:
    """Decode a tensor in any valid encoding: ``tensor_content``, packed values (in one or several records), unpacked
    values, or shortened values (the last one is repeated up to the size of the shape, as TensorFlow encodes constants).
    Values beyond the shape's size are dropped, as TensorFlow does.

    The array may be read-only: it is a view of the message's bytes where possible.

    Raises:
        TensorError: the tensor is malformed.

    >>> decode_tensor(encode_tensor(np.array([1.5, 2.5], np.float32), as_content=False)).tolist()
    [1.5, 2.5]
    """
    data_type = BY_NUMBER.get(tensor.dtype)
    if data_type is None:
        raise TensorError(f"cannot decode a tensor of {dtype_name(tensor.dtype)}")
    shape, size = _checked_shape(tensor)
    if not size:
        values = np.empty(0, data_type.numpy)
    elif data_type.name == "string":
        values = _from_strings(tensor, size)
    elif tensor.tensor_content:
        values = _from_content(tensor.tensor_content, data_type, size)
    else:
        values = _from_field(tensor, data_type, size)
    try:
        return _fill(values, size, data_type).reshape(shape)
    except ValueError as error:  # more dimensions than numpy has, or [0, 2**62, 2**62]
        raise TensorError(f"numpy cannot represent the tensor's shape: {error}") from error


def _checked_shape(tensor: wire.Tensor) -> tuple[tuple[int, ...], int]:
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)  # TensorFlow ignores `unknown_rank`
    if any(size < 0 for size in shape):
        raise TensorError(f"a tensor's shape must be known, got {list(shape)}")
    size = 1
    for dim in shape:
        size *= dim
    if size > _MAX_ELEMENTS:
        raise TensorError(f"a tensor of shape {list(shape)} has too many elements")
    return shape, size


def _from_content(content: bytes, data_type: DataType, size: int) -> _Array:
    if len(content) != size * data_type.numpy.itemsize:
        raise TensorError(f"tensor_content has {len(content)} bytes, expected {size * data_type.numpy.itemsize}")
    if data_type.name == "bool" and np.frombuffer(content, np.uint8).max() > 1:
        raise TensorError("tensor_content has a byte for a bool that is neither 0 nor 1")
    return np.frombuffer(content, data_type.numpy)


def _from_strings(tensor: wire.Tensor, size: int) -> _Array:
    content = tensor.tensor_content
    strings = _split_strings(content, size) if content else list(tensor.string_val)
    values: _Array = np.empty(len(strings), dtype=object)
    values[:] = strings
    return values


def _split_strings(content: bytes, size: int) -> list[bytes]:
    """Split the ``tensor_content`` of a string tensor: the lengths of all strings as varints, then their bytes.

    Source: EncodeStringList in tensorflow/core/platform/tensor_coding.cc.
    """
    ends = np.flatnonzero(np.frombuffer(content, np.uint8) < 0x80)[:size]
    if len(ends) < size or size == 0:
        raise TensorError(f"tensor_content has the lengths of {len(ends)} strings, the shape has {size}")
    try:
        lengths = _unpack_varints(content[: ends[-1] + 1]).tolist()
    except ValueError as error:
        raise TensorError(f"malformed tensor_content: {error}") from error
    start = int(ends[-1]) + 1
    if min(lengths) < 0 or start + sum(lengths) != len(content):
        raise TensorError(f"tensor_content has {len(content)} bytes, its strings need {start + sum(lengths)}")
    bounds = list(itertools.accumulate(lengths, initial=start))
    return [content[begin:end] for begin, end in itertools.pairwise(bounds)]


def _from_field(tensor: wire.Tensor, data_type: DataType, size: int) -> _Array:
    records: Sequence[bytes] = getattr(tensor, data_type.field)
    data = records[0] if len(records) == 1 else b"".join(records)
    try:
        values = _unpack(data, data_type.field)
        if values.size < size * data_type.numpy.itemsize // data_type.stored.itemsize:  # shortened or unpacked
            unpacked = _unpacked_values(tensor, data_type)
            if data and unpacked.size > values.size:  # mixed, so the order of the values is unknown
                raise ValueError("packed and unpacked values are mixed")
            values = unpacked
    except (ValueError, DecodeError) as error:
        raise TensorError(f"malformed {data_type.field}: {error}") from error
    stored = values.astype(data_type.stored, copy=False)
    per_value = data_type.numpy.itemsize // stored.itemsize
    # As TensorFlow, drop the real part of a complex number that has no imaginary part.
    return stored[: stored.size - stored.size % per_value].view(data_type.numpy)


def _unpacked_values(tensor: wire.Tensor, data_type: DataType) -> _Array:
    """Read a field that was sent unpacked, one record per value: protobuf keeps it in the unknown fields."""
    message = wire.TensorUnpacked.FromString(tensor.SerializeToString())
    dtype = FIXED_WIDTH.get(data_type.field, np.dtype(np.uint64 if data_type.name == "uint64" else np.int64))
    values: _Array = np.array(getattr(message, data_type.field), dtype)
    return values


def _unpack(data: bytes, field: str) -> _Array:
    fixed = FIXED_WIDTH.get(field)
    return np.frombuffer(data, fixed) if fixed else _unpack_varints(data)


def _unpack_varints(data: bytes) -> npt.NDArray[np.int64]:
    """Decode packed varints (https://protobuf.dev/programming-guides/encoding/#varints) into int64."""
    octets = np.frombuffer(data, np.uint8)
    last = octets < 0x80
    if not data:
        return octets.astype(np.int64)
    if not last[-1]:
        raise ValueError("the last varint is truncated")
    if last.all():
        return octets.astype(np.int64)
    ends = np.flatnonzero(last)
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    if lengths.max() > 10:
        raise ValueError("a varint is longer than 10 bytes")
    position = np.arange(octets.size) - np.repeat(starts, lengths)
    # Only bit 63 of the value is in the tenth byte; numpy's shift by 63 drops higher bits, as protobuf does.
    parts = (octets & 0x7F).astype(np.uint64) << (7 * position).astype(np.uint64)
    return np.add.reduceat(parts, starts).view(np.int64)


def _pack(numbers: _Array, data_type: DataType) -> bytes:
    if data_type.field in FIXED_WIDTH:
        return numbers.tobytes()
    return _pack_varints(numbers.astype(np.uint64 if data_type.name == "uint64" else np.int64).view(np.uint64))


def _pack_varints(values: npt.NDArray[np.uint64]) -> bytes:
    groups = np.empty((values.size, 10), np.uint8)
    for index in range(10):
        groups[:, index] = (values >> np.uint64(7 * index)).astype(np.uint8) & 0x7F
    length = np.maximum(10 - np.argmax(groups[:, ::-1] != 0, axis=1), 1)
    length[~groups.any(axis=1)] = 1
    columns = np.arange(10)
    groups[columns < (length - 1)[:, None]] |= 0x80
    packed: bytes = groups[columns < length[:, None]].tobytes()
    return packed


def _fill(values: _Array, size: int, data_type: DataType) -> _Array:
    if values.size >= size:
        return values[:size]
    if size > _MAX_FILLED:
        raise TensorError(f"{data_type.field} has {values.size} values, too few to fill {size} elements")
    filled: _Array = np.empty(size, data_type.numpy)
    filled[: values.size] = values
    filled[values.size :] = (
        values[-1] if values.size else (b"" if data_type.name == "string" else np.zeros((), data_type.numpy))
    )
    return filled
