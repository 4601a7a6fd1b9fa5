"""Parse a REST request's JSON, with RapidJSON's messages for what is wrong with it."""

from __future__ import annotations

import json
import json.decoder
import re
from collections.abc import Callable
from typing import Any

from bertbundle_serving.errors import RequestError

__all__ = ["YieldingDecoder", "json_text", "parse_object"]

# Python's message and RapidJSON's (rapidjson/error/en.h) of the same mistake.
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
    ("Extra data", "The document root must not be followed by other values."),
)
_MISSING_COMMA = {
    "{": "Missing a comma or } after an object member.",
    "[": "Missing a comma or ] after an array element.",
}


# Values this deep are parsed in C: rows, where a request has many.
_LEVELS = 3
_Scan = Callable[[str, int], Any]


class YieldingDecoder(json.JSONDecoder):
    """A decoder that lets other threads have Python's lock; the usual one keeps it until everything is parsed.

    The outer levels are parsed by the Python forms that the standard library has of what it does in C.
    """

    def __init__(self) -> None:
        super().__init__()
        in_c: _Scan = self.scan_once  # type: ignore[has-type]
        scan = in_c
        for _ in range(_LEVELS):
            scan = self._level(scan, in_c)
        self.scan_once = scan

    def _level(self, scan_inner: _Scan, scan_c: _Scan) -> _Scan:
        def scan(text: str, start: int) -> Any:
            first = text[start : start + 1]
            if first == "{":
                return json.decoder.JSONObject((text, start + 1), self.strict, scan_inner, None, None)  # type: ignore[attr-defined]
            if first == "[":
                return json.decoder.JSONArray((text, start + 1), scan_inner)  # type: ignore[attr-defined]
            return scan_c(text, start)

        return scan


def parse_object(data: bytes) -> dict[str, Any]:
    """Parse a request's body.

    Raises:
        RequestError: INVALID_ARGUMENT, it is not JSON, or not an object.
    """
    if not data:
        raise _invalid("JSON Parse error: The document is empty")
    try:
        text = data.decode("utf-8-sig")
        document = json.loads(text, cls=YieldingDecoder)
    except UnicodeDecodeError as error:
        raise _invalid(f"JSON Parse error: Invalid encoding in string. at offset: {error.start}") from error
    except json.JSONDecodeError as error:
        raise _invalid(f"JSON Parse error: {_parse_error(text, error)}") from error
    except RecursionError as error:
        raise _invalid("JSON Parse error: lists are nested too deeply") from error
    except ValueError as error:  # an integer of more digits than Python takes
        raise _invalid("JSON Parse error: Number too big to be stored in double. at offset: 0") from error
    if not isinstance(document, dict):
        raise _invalid(f"JSON Value: {json_text(document)} Is not object")
    return document


def _parse_error(text: str, error: json.JSONDecodeError) -> str:
    before = text[: error.pos]
    if not text.strip():
        said = "The document is empty."
    elif error.msg.startswith("Expecting ','"):
        said = _MISSING_COMMA[_open_bracket(before)]
    else:
        said = next((theirs for ours, theirs in _PARSE_ERRORS if error.msg.startswith(ours)), "Invalid value.")
    return f"{said} at offset: {len(before.encode())}"


def _open_bracket(text: str) -> str:
    """Return the innermost bracket that is open at the end of a text."""
    opened: list[str] = []
    for found in re.findall(r'"(?:[^"\\]|\\.)*"|[{\[\]}]', text):
        if found in "{[":
            opened.append(found)
        elif found in "}]":
            opened.pop()
    return opened[-1]


def json_text(value: Any) -> str:
    """Return JSON as TensorFlow Serving prints it in its messages."""
    return json.dumps(value, indent=4, ensure_ascii=False)


def _invalid(message: str) -> RequestError:
    return RequestError("INVALID_ARGUMENT", message)
