"""Rows as lines of JSON."""

from __future__ import annotations

import json
from typing import Any, NoReturn

import pytest

from bertbundle.batch.rows import json_line


def refuse(name: str) -> NoReturn:
    """Fail, because a line of JSON has no such number."""
    raise AssertionError(name)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (float("nan"), "NaN"),
        ([float("inf"), {"a": (float("-inf"), 1.5, "NaN")}], ["Infinity", {"a": ["-Infinity", 1.5, "NaN"]}]),
        (b"\xff\x00", "/wA="),
        ({"a": [b"a"]}, {"a": ["YQ=="]}),
    ],
)
def test_values_that_json_lacks(value: Any, written: Any) -> None:
    """Numbers that are not finite are texts, and bytes are Base64, as in the JSON of protobuf."""
    assert json.loads(json_line({"value": value}), parse_constant=refuse) == {"value": written}
