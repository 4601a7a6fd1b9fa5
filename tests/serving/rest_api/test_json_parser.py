"""JSON is parsed as Python's json module does, with RapidJSON's error messages."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bertbundle_serving.errors import RequestError
from bertbundle_serving.rest_api.json_parser import RepeatedKeys, YieldingDecoder, json_text, parse_object


@pytest.mark.parametrize(
    "text",
    [
        '{"a": [{"b": [1, 2.5, -0, 1e300, NaN], "c": "\\u00e9\\n"}, [[[]]], {}], "d": null}',
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
        pytest.param(b"[1]", "JSON Value: [\n    1\n] Is not object", id="list"),
        pytest.param(b"[1,NaN,2]", "JSON Value: [\n    1,\n     Is not object", id="not-finite"),
        pytest.param(b'{"a": \xff}', "JSON Parse error: Invalid value. at offset: 6", id="encoding"),
        pytest.param(
            b'{"\xff": 1e400}', "JSON Parse error: Number too big to be stored in double. at offset: 6", id="big-number"
        ),
        pytest.param(
            rb'{"1e400": ["\ud83d\ude00", "\ud800"]}',
            "JSON Parse error: The surrogate pair in string is invalid. at offset: 28",
            id="high-surrogate",
        ),
        pytest.param(
            rb'{"a": "\\ud800 \udc00"}',
            "JSON Parse error: The surrogate pair in string is invalid. at offset: 15",
            id="low-surrogate",
        ),
        pytest.param(
            rb'{"a": "\ud800\ud800\udc00"}',
            "JSON Parse error: The surrogate pair in string is invalid. at offset: 7",
            id="two-high-surrogates",
        ),
        pytest.param(
            b'{"Inf": [Inf, -Inf x]}',
            "JSON Parse error: Missing a comma or ] after an array element. at offset: 19",
            id="after-infinities",
        ),
        pytest.param(b"[" * 100_000, "JSON Parse error: lists are nested too deeply", id="deep"),
        pytest.param(
            b'{"a": ' + b"1" * 310 + b"}",
            "JSON Parse error: Number too big to be stored in double. at offset: 6",
            id="integer-beyond-double",
        ),
        pytest.param(
            rb'{"a": "\ud800", "b": ?}',
            "JSON Parse error: The surrogate pair in string is invalid. at offset: 7",
            id="first-of-two-errors",
        ),
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


@pytest.mark.parametrize(
    ("body", "document"),
    [
        pytest.param(b'{"a": 1} // a comment', {"a": 1}, id="comment"),
        pytest.param(b' {"a": 1} {"a": 2', {"a": 1}, id="two-documents"),
        pytest.param(
            b'{"Inf": [Inf, -Inf, Infinity, -Infinity], "b": "Inf\\"Inf"}',
            {"Inf": [float("inf"), float("-inf"), float("inf"), float("-inf")], "b": 'Inf"Inf'},
            id="infinities",
        ),
        pytest.param(b'{"a": "\xff\xc3\xa9"}', {"a": "\udcffé"}, id="not-utf-8"),
        pytest.param(rb'{"a": "\ud83d\ude00 \\ud800"}', {"a": "\U0001f600 \\ud800"}, id="surrogate-pair"),
        pytest.param(b'{"a": 1, "b": {"c": 2, "c": 3}, "a": 4}', {"a": 1, "b": {"c": 2}}, id="repeated-keys"),
        pytest.param(b'{"a": [[[{"c": 2, "c": 3}]]]}', {"a": [[[{"c": 2}]]]}, id="repeated-keys-below"),
        pytest.param(b'{"a": 1e-400}', {"a": 0.0}, id="small-number"),
    ],
)
def test_what_rapidjson_takes(body: bytes, document: Any) -> None:
    """What follows the document is ignored; infinities may be short; of a repeated key the first value counts."""
    assert parse_object(body) == document


def test_repeated_keys_are_kept() -> None:
    """All values of a repeated key are there, for tf.Examples, of which the last counts."""
    document = parse_object(b'{"a": 1, "a": 2}')
    assert isinstance(document, RepeatedKeys)
    assert document.pairs == [("a", 1), ("a", 2)]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(float("nan"), "", id="nan"),
        pytest.param([1, float("-inf"), 2], "[\n    1,\n    ", id="infinity"),
        pytest.param({"NaN": "-Infinity"}, '{\n    "NaN": "-Infinity"\n}', id="text"),
    ],
)
def test_numbers_that_are_not_finite_end_the_text(value: Any, text: str) -> None:
    """In messages RapidJSON stops at the first number that is not finite."""
    assert json_text(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.5, "1.5"),
        (2.0, "2.0"),
        (-0.0, "-0.0"),
        (0.1, "0.1"),
        (16777217.5, "16777218.0"),
        (1e39, "1e+39"),
        (1.0000000001e300, "1.0000000001e+300"),
        (1e-7, "1e-07"),
        (2**64, "1.84467441e+19"),
        (2**63, "9223372036854775808"),
        (-(2**63) - 1, "-9.22337204e+18"),
    ],
)
def test_single_numbers(value: float, text: str) -> None:
    """A number alone is printed with 6 digits, or with all if these are not enough; integers beyond 64 bits are floats.

    By hand, from the format %.6g, else %.9g for float and %.17g for double.
    """
    assert json_text(value) == text
