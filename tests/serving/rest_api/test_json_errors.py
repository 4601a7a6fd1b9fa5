"""Where a text is not JSON is said as by RapidJSON."""

from __future__ import annotations

import pytest

from bertbundle_serving.rest_api.json_errors import find_json_error

# Texts and offsets of python-rapidjson 1.25, a binding of RapidJSON: loads(text, number_mode=NM_NAN | NM_NATIVE).
ERRORS: dict[str, dict[bytes, int]] = {
    "The document is empty.": {
        b" \n": 2,
    },
    "Missing a name for object member.": {
        b"{x}": 1,
        b"{": 1,
        b'{"a":1,}': 7,
    },
    "Missing a colon after a name of object member.": {
        b'{"a" 1}': 5,
    },
    "Missing a comma or } after an object member.": {
        b'{"a":1': 6,
        b'{"a":[{}] "b"': 10,
        b'{"a":01}': 6,
    },
    "Missing a comma or ] after an array element.": {
        b'{"a":[1': 7,
        b'{"a":[[],{} 1]}': 12,
    },
    "Invalid value.": {
        b'{"a":[1,]}': 8,
        b'{"a":': 5,
        b'{"a":[nul]}': 9,
        b'{"a":tru': 8,
        b'{"a":-}': 6,
        b'{"a":+1}': 5,
        b'{"a":Na}': 7,
        b'{"a":[-Infinite]}': 14,
    },
    "Miss fraction part in number.": {
        b'{"a":1.}': 7,
        b'{"a":1.e5}': 7,
    },
    "Miss exponent in number.": {
        b'{"a":1e': 7,
        b'{"a":-1.5E+x}': 11,
    },
    "Number too big to be stored in double.": {
        b'{"a":[0,-1.5e309]}': 8,
        b'{"a":' + b"9" * 310 + b"}": 5,
    },
    "Missing a closing quotation mark in string.": {
        b'{"a":"bc': 8,
        b'{"a': 3,
        b'{"a":"b\x00c"}': 7,
    },
    "Invalid encoding in string.": {
        b'{"a":"b\tc"}': 7,
    },
    "Invalid escape character in string.": {
        b'{"a":"b\\x"}': 7,
        b'{"a":"b\\': 7,
    },
    "Incorrect hex digit after \\u escape in string.": {
        b'{"a":"b\\u12g4"}': 7,
        b'{"a":"\\u12': 6,
        b'{"a":"\\ud83d\\udexx"}': 6,
    },
    "The surrogate pair in string is invalid.": {
        b'{"a":"b\\ud800c"}': 7,
        b'{"a":"\\ud83d': 6,
        b'{"a":"\\udc00"}': 6,
        b'{"a":"\\ud800\\ud800\\udc00"}': 6,
        b'{"a":"\\ud800", "b":?}': 6,
    },
}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        pytest.param(data, f"{message} at offset: {offset}", id=f"{message.split('.')[0]}-{index}")
        for message, places in ERRORS.items()
        for index, (data, offset) in enumerate(places.items())
    ],
)
def test_errors(data: bytes, text: str) -> None:
    """The message and the offset are those of RapidJSON."""
    assert find_json_error(data) == text


def test_offsets_are_in_bytes() -> None:
    """Offsets count bytes, also of what is not UTF-8, and of a byte order mark."""
    assert find_json_error(b'\xef\xbb\xbf{"\xff\xc3\xa9":?}') == "Invalid value. at offset: 10"


@pytest.mark.parametrize("element", [b"1, ", b"-0.5 ,", b'"a",', b"null,", b"[1],", b'{"a":1},'])
@pytest.mark.parametrize("start", [b"[", b'{"a":[0],"b":['])
def test_behind_many_elements(element: bytes, start: bytes) -> None:
    """The offset is that of the wrong element, however many correct ones there are before it."""
    data = start + element * 1_200
    assert find_json_error(data + b"?") == f"Invalid value. at offset: {len(data)}"
    assert find_json_error(data + b"01]") == f"Missing a comma or ] after an array element. at offset: {len(data) + 1}"


def test_behind_many_members() -> None:
    """Also in objects."""
    data = b"{" + b'"a" : "b", "c":1.5,' * 600
    assert find_json_error(data + b"}") == f"Missing a name for object member. at offset: {len(data)}"


@pytest.mark.parametrize(
    "data",
    [
        b'{"a": [1, -0.5e+3, {}, [], [[]], true, false, null, NaN, -NaN, Inf, -Infinity], "b": {"c": "\\\\"}} x',
        rb'"\ud83d\ude00 \\ \/ \u0000"',
        b"[" * 100_000 + b"]" * 100_000,
        b"-0",
        b'"\xff"',
    ],
    ids=["all", "escapes", "deep", "number", "not-utf-8"],
)
def test_json(data: bytes) -> None:
    """Text that is JSON has no error; what follows the value does not matter."""
    assert find_json_error(data) is None
