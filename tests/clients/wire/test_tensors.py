"""Conversion between arrays and tensors, in every valid encoding and in some malformed ones."""

from __future__ import annotations

import struct
import time
import tracemalloc
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.data_types import DATA_TYPES, dtype_name
from bertbundle.wire.tensors import (
    TensorError,
    decode_tensor,
    decode_tensors,
    encode_tensor,
    encode_tensors,
    tensor_shape,
)

NUMERIC = [row for row in DATA_TYPES if row.name != "string"]
BY_NAME = {row.name: row for row in DATA_TYPES}
EVERY_NUMERIC = pytest.mark.parametrize("name", [pytest.param(row.name, id=row.name) for row in NUMERIC])
EVERY_DTYPE = pytest.mark.parametrize("name", [pytest.param(row.name, id=row.name) for row in DATA_TYPES])
BOTH_WAYS = pytest.mark.parametrize("as_content", [pytest.param(True, id="content"), pytest.param(False, id="values")])
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)


def extremes(name: str) -> np.ndarray[Any, Any]:
    """Return edge cases of a dtype's values."""
    if name == "string":
        return np.array([b"", "王建国 é".encode(), b"\x00\xff", b"x" * 300], object)
    dtype = BY_NAME[name].numpy
    if dtype.names:
        return extremes({"bfloat16": "uint16"}.get(name, name.removeprefix("q"))).view(dtype)
    if dtype.kind == "c":
        parts = extremes({"complex64": "float", "complex128": "double"}[name])
        return np.concatenate([parts, parts[::-1]]).view(dtype)
    if dtype.kind == "b":
        return np.array([True, False])
    if dtype.kind == "f":
        info = np.finfo(dtype)
        return np.array([0.0, -0.0, 1.5, np.nan, np.inf, -np.inf, info.max, info.tiny, info.smallest_subnormal], dtype)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    return np.array([low, low + 1, 0, 1, 127 if high > 127 else 5, high - 1, high], dtype)


def content(array: np.ndarray[Any, Any]) -> Any:
    """Return the content of an array for an exact comparison, including NaN payloads and signed zeros."""
    return array.tolist() if array.dtype == object else array.tobytes()


def transmit(tensor: wire.Tensor) -> wire.Tensor:
    """Serialize and parse a tensor."""
    return wire.Tensor.FromString(tensor.SerializeToString())


def assert_same(actual: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> None:
    """Check that dtype, shape and every bit are equal."""
    assert actual.dtype == expected.dtype.newbyteorder("<")
    assert actual.shape == expected.shape
    assert content(actual) == content(expected.astype(actual.dtype))


# ---- round trips


@BOTH_WAYS
@EVERY_NUMERIC
@given(data=st.data())
def test_round_trip(name: str, as_content: bool, data: st.DataObject) -> None:
    """An array of any numeric dtype and shape, including 0-d and empty, is unchanged after either encoding."""
    array = data.draw(hnp.arrays(BY_NAME[name].numpy, SHAPES))
    assert_same(decode_tensor(transmit(encode_tensor(array, as_content=as_content))), array)


@given(values=st.lists(st.binary(max_size=300), max_size=6))
def test_strings_round_trip(values: list[bytes]) -> None:
    """Strings may contain any bytes, including NUL, and be empty."""
    array = np.empty(len(values), object)
    array[:] = values
    assert_same(decode_tensor(transmit(encode_tensor(array))), array)


@BOTH_WAYS
@EVERY_DTYPE
def test_extremes_round_trip(name: str, as_content: bool) -> None:
    """NaN, infinities, subnormals and the limits of each integer type are unchanged after either encoding."""
    array = extremes(name)
    assert_same(decode_tensor(transmit(encode_tensor(array, as_content=as_content))), array)


@BOTH_WAYS
@pytest.mark.parametrize(
    "array",
    [
        pytest.param(np.asfortranarray(np.arange(6, dtype=np.int32).reshape(2, 3)), id="fortran"),
        pytest.param(np.arange(12, dtype=np.float32).reshape(3, 4)[::2, ::-1], id="strided"),
        pytest.param(np.arange(6).astype(">i8"), id="big-endian"),
        pytest.param(np.arange(6).astype(">f4"), id="big-endian-float"),
        pytest.param(np.broadcast_to(np.float32(1), (2, 3)), id="read-only"),
        pytest.param(np.zeros((3, 0), np.float64), id="empty"),
        pytest.param(np.array(7, np.int64), id="0-d"),
    ],
)
def test_memory_layouts(array: np.ndarray[Any, Any], as_content: bool) -> None:
    """The memory layout and byte order of an array do not change what is sent."""
    decoded = decode_tensor(transmit(encode_tensor(array, as_content=as_content)))
    assert decoded.shape == array.shape
    assert decoded.tolist() == array.tolist()
    assert decoded.dtype.newbyteorder("=") == array.dtype.newbyteorder("=")


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(np.array([["é", "b"]]), id="str"),
        pytest.param(np.array([["é".encode(), b"b"]]), id="bytes"),
        pytest.param(np.array([["é", b"b"]], object), id="mixed"),
    ],
)
def test_str_is_sent_as_utf8(array: np.ndarray[Any, Any]) -> None:
    """A str is encoded as UTF-8 and decoded as bytes."""
    assert decode_tensor(encode_tensor(array)).tolist() == [["é".encode(), b"b"]]


def test_maps_of_tensors() -> None:
    """Arrays are encoded and decoded by name."""
    arrays = {"a": np.array([1], np.int32), "b": np.array([[1.5]], np.float32)}
    tensors = encode_tensors(arrays)
    assert {name: array.tolist() for name, array in decode_tensors(tensors).items()} == {"a": [1], "b": [[1.5]]}


@pytest.mark.parametrize(
    ("array", "message"),
    [
        pytest.param(np.array(["2026-01-01"], "M8[D]"), "no tensor dtype for numpy dtype datetime64", id="date"),
        pytest.param(np.array([1, None], object), "no tensor dtype for int, expected str or bytes", id="objects"),
    ],
)
def test_unsupported_dtypes(array: np.ndarray[Any, Any], message: str) -> None:
    """An array of a dtype that tensors do not support raises a TypeError."""
    with pytest.raises(TypeError, match=message):
        encode_tensor(array)


def test_dtype_names() -> None:
    """The names of dtypes are those of TensorFlow's error messages."""
    assert dtype_name(3) == "int32"
    assert dtype_name(99) == "unknown dtype enum (99)"


# ---- valid encodings of other senders


def varint(value: int) -> bytes:
    """Encode one varint; source: https://protobuf.dev/programming-guides/encoding/#varints."""
    value &= 2**64 - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


FLOATS = {"float_val": "f", "double_val": "d", "scomplex_val": "f", "dcomplex_val": "d"}
"""The fields of floating point numbers, and their type as `struct` and numpy name it."""


def stored(name: str, values: np.ndarray[Any, Any]) -> list[Any]:
    """Return the numbers that stand for values in their field: bits of half and bfloat16, parts of complex numbers."""
    field, dtype = BY_NAME[name].field, BY_NAME[name].numpy
    if field in FLOATS:
        return list(values.view(FLOATS[field]).tolist())
    integers = values.view(np.uint16) if field == "half_val" else values.view(dtype[0] if dtype.names else dtype)
    return [int(value) for value in integers.tolist()]


def records(name: str, values: np.ndarray[Any, Any]) -> list[bytes]:
    """Encode values unpacked: one record of tag and value for each."""
    row = BY_NAME[name]
    number = wire.Tensor.DESCRIPTOR.fields_by_name[row.field].number
    if row.field in FLOATS:
        kind = FLOATS[row.field]
        tag = varint(number << 3 | {"f": 5, "d": 1}[kind])
        return [tag + struct.pack(f"<{kind}", value) for value in stored(name, values)]
    return [varint(number << 3) + varint(value) for value in stored(name, values)]


def frame(name: str, *shape: int) -> bytes:
    """Serialize a tensor without values."""
    return wire.Tensor(dtype=BY_NAME[name].number, tensor_shape=tensor_shape(shape)).SerializeToString()


@EVERY_NUMERIC
def test_packed_values_are_canonical(name: str) -> None:
    """Packed values are encoded as protobuf's documentation specifies."""
    array = extremes(name)
    row = BY_NAME[name]
    expected = array.tobytes() if row.field in FLOATS else b"".join(varint(value) for value in stored(name, array))
    assert list(getattr(encode_tensor(array, as_content=False), row.field)) == [expected]


@EVERY_NUMERIC
def test_chunked_values(name: str) -> None:
    """A packed field that was sent in several records is joined, as protobuf does."""
    array = extremes(name)
    halves = [getattr(encode_tensor(part, as_content=False), BY_NAME[name].field)[0] for part in np.split(array, [1])]
    assert len(halves) == 2
    values: list[dict[str, Any]] = [{BY_NAME[name].field: [half]} for half in halves]
    message = frame(name, len(array)) + b"".join(wire.Tensor(**fields).SerializeToString() for fields in values)
    assert_same(decode_tensor(wire.Tensor.FromString(message)), array)


@EVERY_NUMERIC
def test_shortened_unpacked_values(name: str) -> None:
    """Unpacked values may be shortened."""
    array = extremes(name)[:2]
    message = frame(name, 3) + b"".join(records(name, array))
    assert content(decode_tensor(wire.Tensor.FromString(message))) == content(array[[0, 1, 1]])


@EVERY_NUMERIC
def test_unpacked_values(name: str) -> None:
    """A field may be sent unpacked, with one record per value."""
    array = extremes(name)
    message = frame(name, len(array)) + b"".join(records(name, array))
    assert content(decode_tensor(wire.Tensor.FromString(message))) == content(array)


@EVERY_NUMERIC
def test_packed_and_unpacked_values(name: str) -> None:
    """A field with both packed and unpacked values is refused, because the order of its values is unknown."""
    array = extremes(name)
    packed = encode_tensor(array[1:], as_content=False)
    packed.ClearField("tensor_shape")
    message = frame(name, len(array)) + b"".join(records(name, array[:1])) + packed.SerializeToString()
    with pytest.raises(TensorError, match="packed and unpacked values are mixed"):
        decode_tensor(wire.Tensor.FromString(message))


@EVERY_DTYPE
def test_shortened_values(name: str) -> None:
    """If there are fewer values than the shape has, the last one is repeated, or zero if there are none."""
    first = extremes(name)[:2]
    tensor = encode_tensor(first, as_content=False)
    tensor.tensor_shape.CopyFrom(tensor_shape((2, 3)))
    assert content(decode_tensor(transmit(tensor))) == content(first[[0, 1, 1, 1, 1, 1]].reshape(2, 3))
    none = decode_tensor(wire.Tensor.FromString(frame(name, 2)))
    assert content(none) == ([b"", b""] if name == "string" else bytes(2 * BY_NAME[name].numpy.itemsize))


def test_narrow_integers_wrap_as_protobuf_does() -> None:
    """An int32 that was encoded as an unsigned 5-byte varint is decoded modulo 2**32, as protobuf does."""
    tensor = wire.Tensor(dtype=3, tensor_shape=tensor_shape((1,)), int_val=[varint(2**32 - 1)])
    assert decode_tensor(tensor).tolist() == [-1]


def test_strings_in_tensor_content() -> None:
    """With --enable_serialization_as_tensor_content strings are sent as all lengths, followed by all bytes.

    Golden value: the strings "abc" and "" as tf.io.parse_tensor decodes them (see the slow test below).
    """
    tensor = wire.Tensor(dtype=7, tensor_shape=tensor_shape((2,)), tensor_content=b"\x03\x00abc")
    assert decode_tensor(tensor).tolist() == [b"abc", b""]


@given(values=st.lists(st.binary(max_size=300), min_size=1, max_size=6))
def test_any_strings_in_tensor_content(values: list[bytes]) -> None:
    """Strings in tensor_content may contain any bytes, and their lengths may need several varint bytes."""
    joined = b"".join(varint(len(value)) for value in values) + b"".join(values)
    tensor = wire.Tensor(dtype=7, tensor_shape=tensor_shape((len(values), 1)), tensor_content=joined)
    assert decode_tensor(tensor).tolist() == [[value] for value in values]


def _tensor(name: str, shape: tuple[int, ...], **fields: Any) -> wire.Tensor:
    return wire.Tensor(dtype=BY_NAME[name].number, tensor_shape=tensor_shape(shape), **fields)


def _parse(data: bytes) -> wire.Tensor:
    return wire.Tensor.FromString(data)


ODD = {
    "more-values": (_tensor("int32", (2,), int_val=[b"\x01\x02\x03"]), [1, 2]),
    "more-strings": (_tensor("string", (1,), string_val=[b"a", b"b"]), [b"a"]),
    "value-for-none": (_tensor("float", (0, 3), float_val=[b"1234"]), []),
    "content-for-none": (_tensor("float", (0,), tensor_content=b"12345"), []),
    "string-for-none": (_tensor("string", (0,), tensor_content=b"\x01a"), []),
    "unknown-rank": (
        wire.Tensor(dtype=3, tensor_shape=wire.TensorShape(unknown_rank=True), int_val=[b"\x05"]),
        5,
    ),
    "unknown-rank-with-sizes": (
        wire.Tensor(
            dtype=3,
            tensor_shape=wire.TensorShape(unknown_rank=True, dim=[wire.TensorShape.Dim(size=2)]),
            int_val=[b"\x05\x06"],
        ),
        [5, 6],
    ),
    "bool-of-2": (_tensor("bool", (1,), bool_val=[b"\x02"]), [True]),
    "half-a-complex": (
        _tensor("complex64", (2,), scomplex_val=[struct.pack("<fff", 1, 2, 3)]),
        [1 + 2j, 1 + 2j],
    ),
}
"""Tensors that one would not send, but that TensorFlow takes."""
EVERY_ODD = pytest.mark.parametrize(("tensor", "values"), [pytest.param(*case, id=name) for name, case in ODD.items()])


@EVERY_ODD
def test_odd_tensors(tensor: wire.Tensor, values: Any) -> None:
    """What TensorFlow takes is decoded: more values than the shape has, values for an empty shape, an unknown rank."""
    flat = decode_tensor(tensor).reshape(-1)
    assert flat.tolist() == (values if isinstance(values, list) else [values])


@pytest.mark.slow
@EVERY_ODD
def test_odd_tensors_in_tensorflow(tensor: wire.Tensor, values: Any, tensorflow: Any) -> None:
    """tf.io.parse_tensor gives the same."""
    dtype = tensorflow.dtypes.as_dtype(tensor.dtype)
    parsed = tensorflow.io.parse_tensor(tensor.SerializeToString(), dtype).numpy()
    assert np.shape(parsed) == decode_tensor(tensor).shape
    assert np.reshape(parsed, -1).tolist() == (values if isinstance(values, list) else [values])


# ---- malformed tensors


MALFORMED = {
    "truncated-varint": (
        _tensor("int32", (2,), int_val=[b"\x01\x80"]),
        "malformed int_val: the last varint is truncated",
    ),
    "long-varint": (_tensor("int64", (1,), int64_val=[b"\xff" * 10 + b"\x01"]), "longer than 10 bytes"),
    "float-of-5-bytes": (_tensor("float", (2,), float_val=[b"12345"]), "malformed float_val"),
    "double-of-5-bytes": (_tensor("double", (1,), double_val=[b"12345"]), "malformed double_val"),
    "other-field-malformed": (_tensor("int32", (2,), int_val=[b"\x01"], float_val=[b"12345"]), "malformed int_val"),
    "content-too-short": (_tensor("int32", (2,), tensor_content=b"1234"), "tensor_content has 4 bytes, expected 8"),
    "content-too-long": (_tensor("int32", (1,), tensor_content=b"12345678"), "has 8 bytes, expected 4"),
    "bool-of-2": (_tensor("bool", (2,), tensor_content=b"\x01\x02"), "neither 0 nor 1"),
    "strings-too-short": (_tensor("string", (2,), tensor_content=b"\x03\x00ab"), "4 bytes, its strings need 5"),
    "strings-too-long": (_tensor("string", (1,), tensor_content=b"\x01ab"), "3 bytes, its strings need 2"),
    "strings-no-lengths": (_tensor("string", (3,), tensor_content=b"\x01\x80"), "the lengths of 1 strings"),
    "string-of-negative-length": (_tensor("string", (1,), tensor_content=varint(-1)), "its strings need"),
    "string-length-too-long": (_tensor("string", (1,), tensor_content=b"\x80" * 10 + b"\x01"), "longer than 10"),
    "no-dtype": (wire.Tensor(), "unknown dtype enum \\(0\\)"),
    "unknown-dtype": (wire.Tensor(dtype=99), "unknown dtype enum \\(99\\)"),
    "negative-dimension": (_tensor("int32", (2, -1)), "shape must be known, got \\[2, -1\\]"),
    "too-many-dimensions": (
        _tensor("int32", (1,) * 70, int_val=[b"\x01"]),
        "cannot represent the tensor's shape",
    ),
    "empty-but-huge": (_tensor("int32", (0, 2**62, 2**62)), "cannot represent the tensor's shape"),
    "huge": (_tensor("float", (2**40, 2**40)), "has too many elements"),
    "overflowing": (_tensor("float", (2**32, 2**32)), "has too many elements"),
    "huge-of-none": (_tensor("double", (2**31,)), "0 values, too few to fill 2147483648 elements"),
    "huge-of-one": (_tensor("double", (2**30,), double_val=[b"12345678"]), "1 values, too few to fill"),
    "huge-strings": (_tensor("string", (2**31,), string_val=[b"a"]), "1 values, too few to fill"),
    "huge-strings-content": (_tensor("string", (2**31,), tensor_content=b"\x00"), "the lengths of 1 strings"),
    "huge-unpacked": (
        _parse(frame("int32", 2**31) + records("int32", np.array([5], np.int32))[0]),
        "1 values, too few to fill",
    ),
}


@pytest.mark.parametrize(("tensor", "message"), [pytest.param(*case, id=name) for name, case in MALFORMED.items()])
def test_malformed_tensors(tensor: wire.Tensor, message: str) -> None:
    """A malformed tensor raises a TensorError quickly, and without allocating the memory of its declared shape."""
    tracemalloc.start()
    start = time.perf_counter()
    try:
        with pytest.raises(TensorError, match=message):
            decode_tensor(tensor)
        assert time.perf_counter() - start < 1
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@given(data=st.binary(max_size=60), row=st.sampled_from(DATA_TYPES), shape=st.lists(st.integers(0, 9), max_size=3))
def test_any_bytes_as_values(data: bytes, row: Any, shape: list[int]) -> None:
    """Any bytes in a value field are decoded to an array of the shape, or raise a TensorError."""
    tensor = _tensor(row.name, tuple(shape), **{row.field: [data]})
    try:
        decoded = decode_tensor(tensor)
    except TensorError:
        return
    assert decoded.shape == tuple(shape)


# ---- compared with TensorFlow


def _official(name: str, array: np.ndarray[Any, Any], tensorflow: Any) -> Any:
    values = array.tolist() if name == "string" else array
    return tensorflow.make_tensor_proto(values, dtype=getattr(tensorflow, {"float": "float32"}.get(name, name)))


@pytest.mark.slow
@EVERY_DTYPE
def test_decodes_what_tensorflow_encodes(name: str, tensorflow: Any) -> None:
    """decode_tensor decodes the output of tf.make_tensor_proto like tf.make_ndarray."""
    array = extremes(name)
    for part in (array, array.reshape(1, -1), array[:0], array[:1]):
        official = _official(name, part, tensorflow)
        decoded = decode_tensor(wire.Tensor.FromString(official.SerializeToString()))
        expected = tensorflow.make_ndarray(official)
        assert content(decoded) == content(expected)
        assert decoded.shape == expected.shape == part.shape


@pytest.mark.slow
@BOTH_WAYS
@EVERY_DTYPE
def test_tensorflow_decodes_what_is_encoded(name: str, as_content: bool, tensorflow: Any) -> None:
    """tf.make_ndarray and tf.io.parse_tensor decode the output of encode_tensor to the original array."""
    array = extremes(name)
    data = encode_tensor(array, as_content=as_content).SerializeToString()
    official = tensorflow.make_tensor_proto(0)
    official.ParseFromString(data)
    assert content(tensorflow.make_ndarray(official)) == content(array)
    dtype = tensorflow.dtypes.as_dtype(official.dtype)
    assert content(tensorflow.io.parse_tensor(data, dtype).numpy()) == content(array)


@pytest.mark.slow
def test_strings_in_tensor_content_in_tensorflow(tensorflow: Any) -> None:
    """tf.io.parse_tensor splits the tensor_content of strings like decode_tensor."""
    values = [b"abc", b"", b"x" * 300]
    joined = b"".join(varint(len(value)) for value in values) + b"".join(values)
    tensor = wire.Tensor(dtype=7, tensor_shape=tensor_shape((3,)), tensor_content=joined)
    parsed = tensorflow.io.parse_tensor(tensor.SerializeToString(), tensorflow.string)
    assert parsed.numpy().tolist() == decode_tensor(tensor).tolist() == values


@pytest.mark.slow
@EVERY_DTYPE
def test_shortened_values_in_tensorflow(name: str, tensorflow: Any) -> None:
    """tf.io.parse_tensor fills shortened values like decode_tensor, with the last value or with zero."""
    for values in (extremes(name)[:2], extremes(name)[:0]):
        tensor = encode_tensor(values, as_content=False)
        tensor.tensor_shape.CopyFrom(tensor_shape((2, 3)))
        dtype = tensorflow.dtypes.as_dtype(tensor.dtype)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parsed = tensorflow.io.parse_tensor(tensor.SerializeToString(), dtype).numpy()
        assert content(decode_tensor(tensor)) == content(parsed)
