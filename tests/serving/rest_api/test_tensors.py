"""JSON values become arrays and arrays become JSON values, as in TensorFlow Serving."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bertbundle_serving.errors import RequestError
from bertbundle_serving.rest_api.json_parser import parse_object
from bertbundle_serving.rest_api.tensors import column_inputs, row_inputs, to_json_values
from bertbundle_serving.runtimes.base import TensorSpec

_SPECS = {
    "int32": TensorSpec("x", np.dtype(np.int32), None, "x:0"),
    "uint8": TensorSpec("x", np.dtype(np.uint8), None, "x:0"),
    "int64": TensorSpec("x", np.dtype(np.int64), None, "x:0"),
    "float": TensorSpec("x", np.dtype(np.float32), None, "x:0"),
    "double": TensorSpec("x", np.dtype(np.float64), None, "x:0"),
    "uint16": TensorSpec("x", np.dtype(np.uint16), None, "x:0"),
    "bool": TensorSpec("x", np.dtype(bool), None, "x:0"),
    "string": TensorSpec("x", np.dtype(object), None, "x:0"),
}


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        pytest.param("int32", [[1, -2], [3, 4]], [[1, -2], [3, 4]], id="int32"),
        pytest.param("int64", 2**40, 2**40, id="scalar"),
        pytest.param("float", [1, 2.5, float("inf")], [1.0, 2.5, float("inf")], id="float"),
        pytest.param("float", [2**24, 2**24 + 1, 1e39, -1e39], [2.0**24, 2.0**24, np.inf, -np.inf], id="rounded"),
        pytest.param("double", [2**53 + 1, 2**64], [2.0**53, 2.0**64], id="rounded-double"),
        pytest.param("bool", [True, False], [True, False], id="bool"),
        pytest.param("string", ["é", {"b64": "/w=="}], ["é".encode(), b"\xff"], id="string"),
        pytest.param("string", [{"b64": "YQ"}, {"b64": " Y Q==\n"}, "\udcff"], [b"a", b"a", b"\xff"], id="bytes"),
        pytest.param("int32", [], [], id="empty"),
    ],
)
def test_values(kind: str, value: Any, expected: Any) -> None:
    """JSON values become arrays of the input's dtype, with the shape of the nested lists."""
    array = column_inputs(value, {"x": _SPECS[kind]})["x"]
    assert array.dtype == _SPECS[kind].dtype
    assert array.tolist() == expected


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        pytest.param("int32", 1.5, "JSON Value: 1.5 Type: Number is not of expected type: int32", id="float"),
        pytest.param("int32", True, "JSON Value: true Type: True is not of expected type: int32", id="bool"),
        pytest.param("int32", None, "JSON Value: null Type: Null is not of expected type: int32", id="null"),
        pytest.param("int32", 2**31, "JSON Value: 2147483648 Type: Number is not of expected type: int32", id="range"),
        pytest.param("uint8", 256, "JSON Value: 256 Type: Number is not of expected type: uint8", id="byte"),
        pytest.param("string", 1, "JSON Value: 1 Type: Number is not of expected type: string", id="number"),
        pytest.param("float", "1", 'JSON Value: "1" Type: String is not of expected type: float', id="text"),
        pytest.param("string", {"b64": "!"}, "Unable to base64 decode", id="base64"),
        pytest.param(
            "int32",
            [[1, 2], [3]],
            "Encountered list at unexpected size: 1 at level: 1 expected size: 2",
            id="ragged",
        ),
        pytest.param(
            "int32",
            [1, [2]],
            "Encountered list at unexpected level: 1 expected < 1",
            id="too-deep",
        ),
        pytest.param(
            "int32",
            [[1], 2],
            "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
            id="too-flat",
        ),
    ],
)
def test_wrong_values(kind: str, value: Any, text: str) -> None:
    """An invalid value gets TensorFlow Serving's message."""
    with pytest.raises(RequestError) as caught:
        column_inputs(value, {"x": _SPECS[kind]})
    assert (caught.value.code, caught.value.message) == ("INVALID_ARGUMENT", text)


def test_rows_must_have_one_shape() -> None:
    """Every row must have the shape of the first."""
    with pytest.raises(
        RequestError, match=r"Failed to process element: 1 of 'instances' list\. Error: .* size: 2 but got: 1"
    ):
        row_inputs([[1, 2], [3]], {"x": _SPECS["int32"]}, {})


def test_strings_named_bytes_are_base64() -> None:
    """Strings of an output named ..._bytes are base64, those of other outputs are text."""
    strings = np.array([b"\xff"], object)
    assert to_json_values({"a_bytes": strings, "a": strings}) == {"a_bytes": [{"b64": "/w=="}], "a": ["\ufffd"]}


def test_the_first_of_repeated_keys_counts() -> None:
    """Of an input that an instance has twice, the first value counts."""
    instances = parse_object(b'{"instances": [{"x": 1, "x": 2}, {"x": 3, "x": 4}]}')["instances"]
    assert row_inputs(instances, {"x": _SPECS["int32"]}, {})["x"].tolist() == [1, 3]


@pytest.mark.parametrize("value", [1, [1], [[1, 2]]])
def test_uint16_is_not_implemented(value: Any) -> None:
    """TensorFlow Serving converts no JSON to uint16."""
    with pytest.raises(RequestError, match="Conversion of JSON Value: 1 to type: uint16") as caught:
        column_inputs(value, {"x": _SPECS["uint16"]})
    assert caught.value.code == "UNIMPLEMENTED"


@pytest.mark.parametrize("depth", [70, 255, 900])
def test_lists_nested_too_deeply(depth: int) -> None:
    """Lists that are nested more deeply than numpy has dimensions are a tensor that cannot be parsed."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    inputs = {"x": _SPECS["int32"]}
    with pytest.raises(RequestError, match=r"^tensor parsing error: x$"):
        column_inputs(value, inputs)
    with pytest.raises(RequestError, match=r"^tensor parsing error: x$"):
        row_inputs([value], inputs, {})


@pytest.mark.parametrize("dtype", [np.dtype(np.uint16), np.dtype(np.complex64), np.dtype([("bfloat16", "<u2")])])
def test_outputs_without_a_json_form(dtype: np.dtype[Any]) -> None:
    """An output of a dtype that has no JSON form is the caller's error, not the server's."""
    name = (dtype.names or (dtype.name,))[0]
    with pytest.raises(RequestError) as caught:
        to_json_values({"y": np.zeros(1, dtype)})
    assert (caught.value.code, caught.value.message) == (
        "INVALID_ARGUMENT",
        f"Failed to write JSON value for tensor type: {name}",
    )
    assert to_json_values({"y": np.zeros(0, dtype)}) == {"y": []}
