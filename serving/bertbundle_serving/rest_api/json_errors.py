"""Find where a text is not JSON. TensorFlow Serving's messages have the texts and the offsets of RapidJSON.

Source: rapidjson/{reader.h,error/en.h}.
"""

from __future__ import annotations

import math
import re

__all__ = ["find_json_error"]

_BOM = b"\xef\xbb\xbf"
_CLOSING = {b"{": b"}", b"[": b"]"}
_MISSING_COMMA = {
    b"}": "Missing a comma or } after an object member.",
    b"]": "Missing a comma or ] after an array element.",
}
_LITERALS = {b"n": b"null", b"t": b"true", b"f": b"false"}
_SPACE = re.compile(rb"[ \t\r\n]*")
# What is read of a number before its end or an error.
_NUMBER = re.compile(
    rb"-?(?:(?P<digits>0|[1-9][0-9]*)(?P<fraction>\.[0-9]*)?(?P<exponent>(?<!\.)[eE][-+]?[0-9]*)?"
    rb"|(?P<word>N(?:aN?)?|I(?:n(?:f(?:i(?:n(?:i(?:ty?)?)?)?)?)?)?))?"
)
_WORDS = (b"NaN", b"Inf", b"Infinity")
_PLAIN = re.compile(rb'[^"\\\x00-\x1f]*')
# Elements of lists and objects that are correct, so that a large text takes few steps.
_STRING = rb'"[^"\\\x00-\x1f]*"'
_SIMPLE = rb"(?:-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,18})?|null|true|false|%b)" % _STRING
_COMMA = rb"[ \t\r\n]*,[ \t\r\n]*"
_ELEMENTS = {
    b"]": re.compile(rb"(?:%b%b){0,500}" % (_SIMPLE, _COMMA)),
    b"}": re.compile(rb"(?:%b[ \t\r\n]*:[ \t\r\n]*%b%b){0,500}" % (_STRING, _SIMPLE, _COMMA)),
}
_HEX = re.compile(rb"[0-9a-fA-F]{4}")
_ESCAPES = b'"\\/bfnrt'


class _SyntaxError(Exception):
    """An error of the text, at an offset in bytes."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(f"{message} at offset: {offset}")


def find_json_error(data: bytes) -> str | None:
    """Return RapidJSON's message for the first value of a text, with the offset in bytes; None if it is JSON.

    What follows the value is ignored. NaN, Inf and Infinity are numbers.
    """
    try:
        _check(data)
    except _SyntaxError as error:
        return str(error)
    return None


def _check(data: bytes) -> None:
    position = _skip(data, len(_BOM) if data.startswith(_BOM) else 0)
    if data[position : position + 1] in (b"", b"\0"):
        raise _SyntaxError("The document is empty.", position)
    closing: list[bytes] = []
    while True:
        position, is_complete = _begin_value(data, position, closing)
        if not is_complete:
            continue
        while closing and data[position : position + 1] == closing[-1]:
            closing.pop()
            position = _skip(data, position + 1)
        if not closing:
            return
        if data[position : position + 1] != b",":
            raise _SyntaxError(_MISSING_COMMA[closing[-1]], position)
        position = _begin_element(data, _skip(data, position + 1), closing)


def _begin_value(data: bytes, position: int, closing: list[bytes]) -> tuple[int, bool]:
    """Pass a value without lists and objects, or the beginning of one; tell whether an element may end there."""
    first = data[position : position + 1]
    if first not in _CLOSING:
        return _skip(data, _end_of_scalar(data, position)), True
    closing.append(_CLOSING[first])
    position = _skip(data, position + 1)
    if data[position : position + 1] == closing[-1]:
        return position, True
    return _begin_element(data, position, closing), False


def _begin_element(data: bytes, position: int, closing: list[bytes]) -> int:
    """Return where the value of an element begins, in an object behind its name. Correct ones may be passed over."""
    position = _end(_ELEMENTS[closing[-1]], data, position)
    if closing[-1] == b"]":
        return position
    if data[position : position + 1] != b'"':
        raise _SyntaxError("Missing a name for object member.", position)
    position = _skip(data, _end_of_string(data, position))
    if data[position : position + 1] != b":":
        raise _SyntaxError("Missing a colon after a name of object member.", position)
    return _skip(data, position + 1)


def _skip(data: bytes, position: int) -> int:
    return _end(_SPACE, data, position)


def _end(pattern: re.Pattern[bytes], data: bytes, position: int) -> int:
    """Return where what matches a pattern ends."""
    match = pattern.match(data, position)
    return match.end() if match else position


def _end_of_scalar(data: bytes, start: int) -> int:
    first = data[start : start + 1]
    if first == b'"':
        return _end_of_string(data, start)
    return _end_of_literal(data, start, _LITERALS[first]) if first in _LITERALS else _end_of_number(data, start)


def _end_of_literal(data: bytes, start: int, literal: bytes) -> int:
    for length in range(len(literal), 0, -1):
        if data.startswith(literal[:length], start):
            break
    if length < len(literal):
        raise _SyntaxError("Invalid value.", start + length)
    return start + length


def _end_of_number(data: bytes, start: int) -> int:
    match = _NUMBER.match(data, start)
    if match is None or not (match["digits"] or match["word"] in _WORDS):
        raise _SyntaxError("Invalid value.", match.end() if match else start)
    if match["fraction"] == b".":
        raise _SyntaxError("Miss fraction part in number.", match.end())
    if match["exponent"] and not match["exponent"][-1:].isdigit():
        raise _SyntaxError("Miss exponent in number.", match.end())
    if match["digits"] and math.isinf(float(match[0])):
        raise _SyntaxError("Number too big to be stored in double.", start)
    return match.end()


def _end_of_string(data: bytes, start: int) -> int:
    position = start + 1
    while True:
        position = _end(_PLAIN, data, position)
        found = data[position : position + 1]
        if found == b'"':
            return position + 1
        if found in (b"", b"\0"):
            raise _SyntaxError("Missing a closing quotation mark in string.", position)
        if found != b"\\":
            raise _SyntaxError("Invalid encoding in string.", position)
        position = _end_of_escape(data, position)


def _end_of_escape(data: bytes, start: int) -> int:
    kind = data[start + 1 : start + 2]
    if kind != b"u":
        if not kind or kind not in _ESCAPES:
            raise _SyntaxError("Invalid escape character in string.", start)
        return start + 2
    code = _code_unit(data, start + 2, start)
    if not 0xD800 <= code < 0xE000:
        return start + 6
    is_pair = code < 0xDC00 and data.startswith(b"\\u", start + 6)
    if not (is_pair and 0xDC00 <= _code_unit(data, start + 8, start) < 0xE000):
        raise _SyntaxError("The surrogate pair in string is invalid.", start)
    return start + 12


def _code_unit(data: bytes, position: int, offset: int) -> int:
    match = _HEX.match(data, position)
    if match is None:
        raise _SyntaxError("Incorrect hex digit after \\u escape in string.", offset)
    return int(match[0], 16)
