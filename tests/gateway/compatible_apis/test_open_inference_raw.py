"""Tensors as bytes: numpy's and struct's bytes are the reference."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bertbundle.wire.data_types import BFLOAT16
from bertbundle_gateway.compatible_apis.open_inference_raw import array_from_raw, raw_from_array
from bertbundle_gateway.core.errors import RequestError

NUMPY = {
    "BOOL": "?",
    **{f"INT{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": f"<f{bits // 8}" for bits in (16, 32, 64)},
}
SHAPES = arrays.array_shapes(min_dims=0, min_side=0, max_dims=3, max_side=3)


@given(st.sampled_from(sorted(NUMPY)), SHAPES, st.data())
def test_numbers(datatype: str, shape: tuple[int, ...], data: Any) -> None:
    """Numbers are the bytes that numpy has for them, bit for bit; those of a big-endian array, too."""
    array = data.draw(arrays.arrays(np.dtype(NUMPY[datatype]), shape))
    found = array_from_raw("x", datatype, shape, array.tobytes())
    assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())
    assert raw_from_array(array) == array.tobytes()
    assert raw_from_array(array.astype(array.dtype.newbyteorder(">"))) == array.tobytes()


@given(st.lists(st.binary(max_size=5), max_size=4))
def test_strings(values: list[bytes]) -> None:
    """Each string comes after its length; any cut is refused."""
    data = b"".join(struct.pack("<I", len(value)) + value for value in values)
    found = array_from_raw("x", "BYTES", [len(values)], data)
    assert found.tolist() == values
    assert raw_from_array(found) == data
    for cut in {len(data) - 1, 1} - {-1, len(data)}:
        with pytest.raises(RequestError, match=r"inputs\['x'\]"):
            array_from_raw("x", "BYTES", [len(values)], data[:cut] if values else b"x")


def test_text() -> None:
    """An array of str is UTF-8; a transposed one in row-major order of its shape."""
    array = np.array([["é", "b"], ["c", "d"]], object).T
    assert [value.decode() for value in array_from_raw("x", "BYTES", [4], raw_from_array(array))] == [
        "é",
        "c",
        "b",
        "d",
    ]
    numbers = np.arange(4, dtype=np.int32).reshape(2, 2).T
    assert raw_from_array(numbers) == struct.pack("<4i", 0, 2, 1, 3)


def test_bfloat16() -> None:
    """BF16 has the upper half of the bits of a float32."""
    data = np.array([1.5, -2], "<f4").view("<u2")[1::2].tobytes()
    array = array_from_raw("x", "BF16", [2], data)
    assert (array.dtype, raw_from_array(array)) == (BFLOAT16, data)


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "message"),
    [
        ("INT32", [1], b"abc", "data has 3 bytes, a INT32 has 4"),
        ("INT32", [2], b"abcd", r"shape \[2\] has 2 elements, data has 1"),
        ("BOOL", [1], b"\2", "a byte for a BOOL that is neither 0 nor 1"),
        ("FP8", [1], b"a", "datatype is 'FP8', expected one of BOOL, UINT8, .*, FP16, BF16"),
        ("INT8", [0, 2**62, 2**62], b"", "is not that of an array"),
        ("INT8", [0] * 65, b"", "shape has 65 dimensions"),
        ("BYTES", [-1, -1], b"\0\0\0\0", "has a negative dimension"),
    ],
)
def test_refused(datatype: str, shape: list[int], data: bytes, message: str) -> None:
    """Bytes of another type or shape are refused."""
    with pytest.raises(RequestError, match=message):
        array_from_raw("x", datatype, shape, data)
