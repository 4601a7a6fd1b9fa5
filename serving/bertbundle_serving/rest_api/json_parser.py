"""Parse JSON, with the error messages of RapidJSON, which TensorFlow Serving uses."""

from __future__ import annotations

import json
import json.decoder
import re
from collections.abc import Callable
from typing import Any

from bertbundle_serving.errors import invalid_argument

__all__ = ["YieldingDecoder", "json_text", "parse_object"]

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
    ("Extra data", "The document root must not be followed by other values."),
)
_MISSING_COMMA = {
    "{": "Missing a comma or } after an object member.",
    "[": "Missing a comma or ] after an array element.",
}

# Values nested deeper than this are parsed in C: the rows of a large request.
_PYTHON_LEVELS = 3
_Scan = Callable[[str, int], Any]


class YieldingDecoder(json.JSONDecoder):
    """A JSON decoder that lets other threads run: the default one holds the GIL until the whole document is parsed.

    It parses the outer levels of the document with the standard library's Python functions, the rest with its C code.
    """

    def __init__(self) -> None:
        super().__init__()
        scan_in_c: _Scan = self.scan_once  # type: ignore[has-type]
        scan = scan_in_c
        for _ in range(_PYTHON_LEVELS):
            scan = self._add_level(scan, scan_in_c)
        self.scan_once = scan

    def _add_level(self, scan_inner: _Scan, scan_in_c: _Scan) -> _Scan:
        def scan(text: str, start: int) -> Any:
            first = text[start : start + 1]
            if first == "{":
                return json.decoder.JSONObject((text, start + 1), self.strict, scan_inner, None, None)  # type: ignore[attr-defined]
            if first == "[":
                return json.decoder.JSONArray((text, start + 1), scan_inner)  # type: ignore[attr-defined]
            return scan_in_c(text, start)

        return scan


def parse_object(data: bytes) -> dict[str, Any]:
    """Parse the body of a request.

    Raises:
        RequestError: INVALID_ARGUMENT, the body is not JSON, or not a JSON object.
    """
    if not data:
        raise invalid_argument("JSON Parse error: The document is empty")
    try:
        text = data.decode("utf-8-sig")
        document = json.loads(text, cls=YieldingDecoder)
    except UnicodeDecodeError as error:
        raise invalid_argument(f"JSON Parse error: Invalid encoding in string. at offset: {error.start}") from error
    except json.JSONDecodeError as error:
        raise invalid_argument(f"JSON Parse error: {_parse_error(text, error)}") from error
    except RecursionError as error:
        raise invalid_argument("JSON Parse error: lists are nested too deeply") from error
    except ValueError as error:  # an integer with more digits than Python accepts
        raise invalid_argument("JSON Parse error: Number too big to be stored in double. at offset: 0") from error
    if not isinstance(document, dict):
        raise invalid_argument(f"JSON Value: {json_text(document)} Is not object")
    return document


def _parse_error(text: str, error: json.JSONDecodeError) -> str:
    before = text[: error.pos]
    if not text.strip():
        message = "The document is empty."
    elif error.msg.startswith("Expecting ','"):
        message = _MISSING_COMMA[_open_bracket(before)]
    else:
        found = (rapidjson for python, rapidjson in _PARSE_ERRORS if error.msg.startswith(python))
        message = next(found, "Invalid value.")
    return f"{message} at offset: {len(before.encode())}"


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
    """Return a value as JSON, as TensorFlow Serving prints it in error messages."""
    return json.dumps(value, indent=4, ensure_ascii=False)
