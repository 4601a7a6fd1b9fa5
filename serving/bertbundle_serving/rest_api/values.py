"""Convert single JSON values to a dtype, and single numbers to JSON.

Source of the rules and error texts: tensorflow_serving/util/json_tensor.cc.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bertbundle_serving.errors import RequestError, invalid_argument
from bertbundle_serving.requests.call import dtype_text
from bertbundle_serving.rest_api.json_parser import RepeatedKeys, json_text

__all__ = ["are_integers", "decode_base64", "encode_text", "is_base64", "shortest_float", "to_float", "to_value"]

_TYPES = {type(None): "Null", dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}
_NOT_FROM_JSON = (np.dtype(np.float16), np.dtype(np.uint16))


def are_integers(values: list[Any], dtype: np.dtype[Any]) -> bool:
    """Return whether all values are integers in the range of the dtype; fast for millions of values."""
    if dtype.kind not in "iu" or dtype in _NOT_FROM_JSON or set(map(type, values)) != {int}:
        return False
    return bool(np.iinfo(dtype).min <= min(values) and max(values) <= np.iinfo(dtype).max)


def to_value(value: Any, dtype: np.dtype[Any]) -> Any:
    """Convert a JSON value that is not a list to a dtype.

    Raises:
        RequestError: INVALID_ARGUMENT, the value is of another type; UNIMPLEMENTED, the dtype has no JSON form.
    """
    if isinstance(value, dict) and dtype.kind != "O":
        raise _type_error(value, dtype)
    convert = _CONVERT.get(dtype.kind)
    if convert is None or dtype in _NOT_FROM_JSON:
        raise RequestError(
            "UNIMPLEMENTED", f"Conversion of JSON Value: {json_text(value)} to type: {dtype_text(dtype)}"
        )
    return convert(value, dtype)


def to_float(value: Any, dtype: np.dtype[Any]) -> float:
    """Convert a JSON number. It is rounded to the dtype later; beyond the dtype's range it becomes an infinity.

    Raises:
        RequestError: INVALID_ARGUMENT, the value is not a number.
    """
    if type(value) not in (int, float):
        raise _type_error(value, dtype)
    return float(value)


def _to_integer(value: Any, dtype: np.dtype[Any]) -> int:
    if type(value) is not int or not np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
        raise _type_error(value, dtype)
    return value


def _to_bool(value: Any, dtype: np.dtype[Any]) -> bool:
    if type(value) is not bool:
        raise _type_error(value, dtype)
    return value


def _to_bytes(value: Any, dtype: np.dtype[Any]) -> bytes:
    if isinstance(value, dict):
        return decode_base64(value)
    if not isinstance(value, str):
        raise _type_error(value, dtype)
    return encode_text(value)


_CONVERT: Mapping[str, Callable[[Any, np.dtype[Any]], Any]] = {
    "i": _to_integer,
    "u": _to_integer,
    "f": to_float,
    "b": _to_bool,
    "O": _to_bytes,
}


def encode_text(value: str) -> bytes:
    """Return the bytes of a string in a request; they may be no UTF-8.

    >>> encode_text("\udcff").hex()
    'ff'
    """
    return value.encode(errors="surrogateescape")


def is_base64(value: Any) -> bool:
    """Return whether a value is ``{"b64": "..."}``."""
    is_single = isinstance(value, dict) and value.keys() == {"b64"} and not isinstance(value, RepeatedKeys)
    return is_single and isinstance(value["b64"], str)


def decode_base64(value: Mapping[str, Any]) -> bytes:
    """Return the bytes encoded in ``{"b64": "..."}``. Whitespace in it is ignored; the padding may be missing.

    Raises:
        RequestError: INVALID_ARGUMENT, the value has another form or is not base64.
    """
    if not is_base64(value):
        raise invalid_argument(f"JSON Value: {json_text(value)} not formatted correctly for base64 data")
    text = "".join(value["b64"].split())
    if "=" not in text:
        text += "=" * (-len(text) % 4)
    try:
        return base64.b64decode(text.encode(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid_argument("Unable to base64 decode") from error


def shortest_float(value: float) -> float:
    """Return the float whose text is the shortest that gives the same float32 again.

    >>> shortest_float(float(np.float32(1.05)))
    1.05
    """
    return float(str(np.float32(value)))


def _type_error(value: Any, dtype: np.dtype[Any]) -> RequestError:
    kind = str(value) if isinstance(value, bool) else _TYPES.get(type(value), "Object")
    return invalid_argument(f"JSON Value: {json_text(value)} Type: {kind} is not of expected type: {dtype_text(dtype)}")
