"""Parse JSON, with the error messages of RapidJSON, which TensorFlow Serving uses."""

from __future__ import annotations

import contextlib
import json
import json.decoder
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from bertbundle_serving.errors import RequestError, invalid_argument
from bertbundle_serving.rest_api.json_errors import find_json_error

__all__ = ["RepeatedKeys", "YieldingDecoder", "json_text", "parse_object"]

# Values nested deeper than this are parsed in C: the rows of a large request.
_PYTHON_LEVELS = 3
_Scan = Callable[[str, int], Any]

_STRING = r'"(?:[^"\\]|\\.)*"'
# Numbers that RapidJSON takes and Python does not.
_NOT_PYTHON = re.compile(rf"{_STRING}|(?P<infinity>Inf(?!inity))|(?P<nan>-NaN)")
_NOT_FINITE = re.compile(rf"{_STRING}|(?P<number>NaN|-?Infinity)")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"000000000")
_TOO_MANY_DIGITS = b"0" * 309  # 1 and 309 zeros is beyond the range of double
_MAX_FLOAT32 = float(np.finfo(np.float32).max)


class RepeatedKeys(dict[str, Any]):
    """An object with a repeated key. It has the first value of each key, as TensorFlow Serving looks them up.

    Attributes:
        pairs: all keys and values.
    """

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(reversed(pairs))
        self.pairs = pairs


def _to_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    return document if len(document) == len(pairs) else RepeatedKeys(pairs)


def _to_float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(text)  # RapidJSON refuses it
    return number


class YieldingDecoder(json.JSONDecoder):
    """A JSON decoder that lets other threads run: the default one holds the GIL until the whole document is parsed.

    It parses the outer levels of the document with the standard library's Python functions, the rest with its C code.
    """

    def __init__(self) -> None:
        super().__init__(parse_float=_to_float, object_pairs_hook=_to_object)
        scan_in_c: _Scan = self.scan_once  # type: ignore[has-type]
        scan = scan_in_c
        for _ in range(_PYTHON_LEVELS):
            scan = self._add_level(scan, scan_in_c)
        self.scan_once = scan

    def _add_level(self, scan_inner: _Scan, scan_in_c: _Scan) -> _Scan:
        def scan(text: str, start: int) -> Any:
            first = text[start : start + 1]
            if first == "{":
                return json.decoder.JSONObject((text, start + 1), self.strict, scan_inner, None, _to_object)  # type: ignore[attr-defined]
            if first == "[":
                return json.decoder.JSONArray((text, start + 1), scan_inner)  # type: ignore[attr-defined]
            return scan_in_c(text, start)

        return scan


def parse_object(data: bytes) -> dict[str, Any]:
    """Parse the body of a request. What follows the object is ignored, as TensorFlow Serving does.

    Bytes in strings that are not UTF-8 become surrogates: `str.encode` with ``surrogateescape`` gives them back.

    Raises:
        RequestError: INVALID_ARGUMENT, the body is not JSON, or not a JSON object.
    """
    if not data:
        raise _parse_error("The document is empty")
    try:
        document = _parse(data)
    except RecursionError as error:
        raise _parse_error("lists are nested too deeply") from error
    if not isinstance(document, dict):
        raise invalid_argument(f"JSON Value: {json_text(document)} Is not object")
    return document


def _parse(data: bytes) -> Any:
    """Parse the first value of a text."""
    text = data.decode("utf-8-sig", errors="surrogateescape")
    with contextlib.suppress(ValueError):
        document = _decode(text)
        if not _may_be_refused(data):
            return document
    problem = find_json_error(data)
    if problem is not None:
        raise _parse_error(problem)
    return _decode(_NOT_PYTHON.sub(_to_python, text))


def _may_be_refused(data: bytes) -> bool:
    """Return whether a text may have what Python takes and RapidJSON does not: lone surrogates, very long integers."""
    return _SURROGATE.search(data) is not None or _TOO_MANY_DIGITS in data.translate(_DIGITS_TO_ZERO)


def _to_python(match: re.Match[str]) -> str:
    return "Infinity" if match["infinity"] else "NaN" if match["nan"] else match[0]


def _decode(text: str) -> Any:
    start = len(text) - len(text.lstrip(" \t\r\n"))
    document, _ = YieldingDecoder().raw_decode(text, start)
    return document


def _parse_error(message: str) -> RequestError:
    return invalid_argument(f"JSON Parse error: {message}")


def json_text(value: Any) -> str:
    """Return a value as JSON, as TensorFlow Serving prints it in error messages: up to a number that is not finite."""
    if isinstance(value, float) or (isinstance(value, int) and not -(2**63) <= value < 2**64):
        return _decimal_text(float(value))
    try:
        text = json.dumps(value, indent=4, ensure_ascii=False)
    except RecursionError:
        return "..."
    ends = (match.start() for match in _NOT_FINITE.finditer(text) if match["number"])
    return text[: next(ends, None)]


def _decimal_text(number: float) -> str:
    """Return a number as TensorFlow Serving prints it, in the range of float32 rounded to float32.

    Source: WriteDecimal and JsonValueToString in tensorflow_serving/util/json_tensor.cc.
    """
    if not math.isfinite(number):
        return ""
    to_number, digits = (np.float32, 9) if abs(number) <= _MAX_FLOAT32 else (float, 17)
    rounded = float(to_number(number))
    text = f"{rounded:.6g}"
    if float(to_number(text)) != rounded:
        text = f"{rounded:.{digits}g}"
    return text if re.search("[.e]", text) else f"{text}.0"
