"""JSON is parsed as Python's json module does, with RapidJSON's error messages."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bertbundle_serving.errors import RequestError
from bertbundle_serving.rest_api.json_parser import YieldingDecoder, parse_object


@pytest.mark.parametrize(
    "text",
    [
        '{"a": [{"b": [1, 2.5, -0, 1e400, NaN], "c": "\\u00e9\\n"}, [[[]]], {}], "d": null, "a": true}',
        '{"a": {"b": {"c": {"d": [[1]]}}}}',
        "[]",
        *(
            '{"a": [{"b": [1',
            '{"a": [1 2]}',
            '{"a" 1}',
            '{"a": {b: 1}}',
            '{"a": [1,]}',
            '{"a": "x',
            '{"a": tru}',
            "{} x",
            "{",
        ),
    ],
)
def test_yielding_decoder(text: str) -> None:
    """The decoder that lets other threads run returns the same values and errors as the standard decoder."""

    def parsed(**options: Any) -> str:
        try:
            return repr(json.loads(text, **options))
        except json.JSONDecodeError as error:
            return str(error)

    assert parsed(cls=YieldingDecoder) == parsed()


@pytest.mark.parametrize(
    ("body", "text"),
    [
        pytest.param(b"", "JSON Parse error: The document is empty", id="nothing"),
        pytest.param(b"  ", "JSON Parse error: The document is empty. at offset: 2", id="blank"),
        pytest.param(b"{x}", "JSON Parse error: Missing a name for object member. at offset: 1", id="name"),
        pytest.param(
            b'{"a" 1}', "JSON Parse error: Missing a colon after a name of object member. at offset: 5", id="colon"
        ),
        pytest.param(
            b'{"a":[1 2]}', "JSON Parse error: Missing a comma or ] after an array element. at offset: 8", id="array"
        ),
        pytest.param(
            b'{"]":1 "b"}', "JSON Parse error: Missing a comma or } after an object member. at offset: 7", id="object"
        ),
        pytest.param(
            b"{} 1", "JSON Parse error: The document root must not be followed by other values. at offset: 3", id="more"
        ),
        pytest.param(b"[1]", "JSON Value: [\n    1\n] Is not object", id="list"),
        pytest.param(b'{"a": \xff}', "JSON Parse error: Invalid encoding in string. at offset: 6", id="encoding"),
        pytest.param(b"[" * 100_000, "JSON Parse error: lists are nested too deeply", id="deep"),
        pytest.param(
            b"1" * 5000, "JSON Parse error: Number too big to be stored in double. at offset: 0", id="long-number"
        ),
    ],
)
def test_parse_errors(body: bytes, text: str) -> None:
    """A body that is not a JSON object gets RapidJSON's message, as in TensorFlow Serving."""
    with pytest.raises(RequestError) as caught:
        parse_object(body)
    assert (caught.value.code, caught.value.message) == ("INVALID_ARGUMENT", text)
