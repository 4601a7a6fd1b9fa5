"""Parse JSON, with the error messages of RapidJSON, which TensorFlow Serving uses."""

from __future__ import annotations

import json
import json.decoder
import math
import re
from collections.abc import Callable
from typing import Any

from bertbundle_serving.errors import RequestError, invalid_argument

__all__ = ["RepeatedKeys", "YieldingDecoder", "json_text", "parse_object"]

# Beginning of Python's message, and RapidJSON's message (rapidjson/error/en.h) for the same error.
_PARSE_ERRORS = (
    ("Expecting value", "Invalid value."),
    ("Expecting property name", "Missing a name for object member."),
    ("Illegal trailing comma before end of object", "Missing a name for object member."),
    ("Illegal trailing comma", "Invalid value."),
    ("Expecting ':'", "Missing a colon after a name of object member."),
    ("Unterminated string", "Missing a closing quotation mark in string."),
    ("Invalid \\uXXXX", "Incorrect hex digit after \\u escape in string."),
    ("Invalid \\", "Invalid escape character in string."),
    ("Invalid control", "Invalid encoding in string."),
)
_MISSING_COMMA = {
    "{": "Missing a comma or } after an object member.",
    "[": "Missing a comma or ] after an array element.",
}

# Values nested deeper than this are parsed in C: the rows of a large request.
_PYTHON_LEVELS = 3
_Scan = Callable[[str, int], Any]

_STRING = r'"(?:[^"\\]|\\.)*"'
_INFINITY = re.compile(rf"{_STRING}|(?P<inf>Inf(?!inity))")
_NOT_FINITE = re.compile(rf"{_STRING}|(?P<number>NaN|-?Infinity)")
_NUMBER = re.compile(rf"{_STRING}|(?P<number>-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)")
_TOO_BIG = "Number too big to be stored in double."


class RepeatedKeys(dict[str, Any]):
    """An object with a repeated key. It has the first value of each key, as TensorFlow Serving looks them up.

    Attributes:
        pairs: all keys and values.
    """

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(reversed(pairs))
        self.pairs = pairs


class _NumberTooBig(ValueError):
    """A number beyond the range of double."""


def _to_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    return document if len(document) == len(pairs) else RepeatedKeys(pairs)


def _to_float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _NumberTooBig
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
    text = data.decode("utf-8-sig", errors="surrogateescape")
    try:
        document = _parse(text)
    except RecursionError as error:
        raise _parse_error("lists are nested too deeply") from error
    except _NumberTooBig as error:
        raise _parse_error(_TOO_BIG, text[: _find_too_big(text)]) from error
    except ValueError as error:  # an integer with more digits than Python accepts
        raise _parse_error(_TOO_BIG, "") from error
    lone = _find_lone_surrogate(text)
    if lone is not None:
        raise _parse_error("The surrogate pair in string is invalid.", text[:lone])
    if not isinstance(document, dict):
        raise invalid_argument(f"JSON Value: {json_text(document)} Is not object")
    return document


def _parse(text: str) -> Any:
    """Parse the first value of a text. The infinities may be written as ``Inf``, too."""
    try:
        return _decode(text)
    except json.JSONDecodeError as error:
        if not text.startswith(("Inf", "-Inf"), error.pos):
            raise _syntax_error(text, error) from error
    expanded = _INFINITY.sub(lambda match: "Infinity" if match["inf"] else match[0], text)
    try:
        return _decode(expanded)
    except json.JSONDecodeError as error:
        found = [match.start() for match in _INFINITY.finditer(text) if match["inf"]]
        longer = len("Infinity") - len("Inf")
        error.pos -= longer * sum(start + longer * index < error.pos for index, start in enumerate(found))
        raise _syntax_error(text, error) from error


def _decode(text: str) -> Any:
    start = len(text) - len(text.lstrip(" \t\r\n"))
    document, _ = YieldingDecoder().raw_decode(text, start)
    return document


def _find_too_big(text: str) -> int:
    """Return where the first number beyond the range of double begins."""
    numbers = (match for match in _NUMBER.finditer(text) if match["number"])
    return next(match.start() for match in numbers if math.isinf(float(match["number"])))


def _find_lone_surrogate(text: str) -> int | None:
    """Return where the first escaped surrogate begins that has no partner; None if there is none."""
    if not _SURROGATE.search(text):
        return None
    high: re.Match[str] | None = None
    for match in _ESCAPE.finditer(text):
        code = int(match[1] or "0", 16)
        is_low = 0xDC00 <= code < 0xE000
        if high is not None and not (is_low and match.start() == high.end()):
            return high.start()
        if is_low and high is None:
            return match.start()
        high = match if 0xD800 <= code < 0xDC00 else None
    return None if high is None else high.start()


def _parse_error(message: str, before: str | None = None) -> RequestError:
    """Return an error with RapidJSON's message, and with the offset in bytes behind the text `before` if given."""
    offset = "" if before is None else f" at offset: {len(before.encode(errors='surrogateescape'))}"
    return invalid_argument(f"JSON Parse error: {message}{offset}")


def _syntax_error(text: str, error: json.JSONDecodeError) -> RequestError:
    before = text[: error.pos]
    if not text.strip():
        return _parse_error("The document is empty.", text)
    if error.msg.startswith("Expecting ','"):
        return _parse_error(_MISSING_COMMA[_open_bracket(before)], before)
    found = (rapidjson for python, rapidjson in _PARSE_ERRORS if error.msg.startswith(python))
    return _parse_error(next(found, "Invalid value."), before)


def _open_bracket(text: str) -> str:
    """Return the innermost bracket that is still open at the end of a text."""
    opened: list[str] = []
    for symbol in re.findall(r'"(?:[^"\\]|\\.)*"|[{\[\]}]', text):
        if symbol in "{[":
            opened.append(symbol)
        elif symbol in "}]":
            opened.pop()
    return opened[-1]


def json_text(value: Any) -> str:
    """Return a value as JSON, as TensorFlow Serving prints it in error messages: up to a number that is not finite."""
    try:
        text = json.dumps(value, indent=4, ensure_ascii=False)
    except RecursionError:
        return "..."
    ends = (match.start() for match in _NOT_FINITE.finditer(text) if match["number"])
    return text[: next(ends, None)]
