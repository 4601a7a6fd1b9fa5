"""Arrow values that Python cannot represent."""

from __future__ import annotations

from typing import Any

import pytest

from bertbundle.data.arrow_values import UndecodedText, python_rows, python_values
from optional import require_package


def undecoded(pa: Any) -> Any:
    """Return an Arrow array with a string that is not UTF-8."""
    return pa.array([b"ok", b"a\xff"]).view(pa.string())


@pytest.mark.parametrize(
    ("numbers", "make_type", "expected"),
    [
        ([0, 3_000_000], lambda pa: pa.date32(), ["1970-01-01", "10183-09-21"]),
        ([1, None], lambda pa: pa.timestamp("us", "Nowhere/X"), ["1970-01-01 00:00:00.000001Z", "None"]),
        ([1], lambda pa: pa.timestamp("ns"), ["1970-01-01 00:00:00.000000001"]),
        ([[3_000_000, 0]], lambda pa: pa.list_(pa.date32()), ["['10183-09-21', datetime.date(1970, 1, 1)]"]),
        ([{"a": 3_000_000}], lambda pa: pa.struct([("a", pa.date32())]), ["{'a': '10183-09-21'}"]),
        ([[("k", 3_000_000)]], lambda pa: pa.map_(pa.string(), pa.date32()), ["10183-09-21"]),
    ],
)
def test_values_that_python_lacks(numbers: list[Any], make_type: Any, expected: list[str]) -> None:
    """A value that Python lacks becomes a text, also in a list or struct; the others of the column stay as they are."""
    pa = require_package("pyarrow")
    values = python_values(pa.array(numbers, make_type(pa)))
    assert len(values) == len(numbers)
    assert all(text in str(value) for text, value in zip(expected, values, strict=True))


def test_strings_that_are_not_utf8() -> None:
    """A row with a string that is not UTF-8 is malformed, and its string is shown with escaped bytes."""
    pa = require_package("pyarrow")
    rows = list(python_rows(pa.record_batch([pa.array([1, 2]), undecoded(pa)], ["id", "text"])))
    assert rows == [({"id": 1, "text": "ok"}, ""), ({"id": 2, "text": b"a\xff"}, "not UTF-8: column 'text'")]
    assert str(rows[1][0]["text"]) == "a\\xff"


def test_undecoded_strings_of_other_types() -> None:
    """Strings that are not UTF-8 are found in dictionaries, lists and views."""
    pa = require_package("pyarrow")
    strings = undecoded(pa).slice(1)
    dictionary = pa.DictionaryArray.from_arrays(pa.array([0]), strings)
    view = pa.array([b"a\xff"], pa.binary_view()).view(pa.string_view())
    found = [
        *python_values(dictionary),
        *python_values(view),
        python_values(pa.ListArray.from_arrays([0, 1], strings))[0][0],
    ]
    assert found == [b"a\xff"] * 3
    assert all(isinstance(value, UndecodedText) for value in found)
