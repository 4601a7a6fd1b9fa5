"""The position of a value in JSON is where the json module reads the value."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bertbundle.data.places import position_in_json

SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner), max_leaves=9
)


def paths(value: Any) -> Iterator[tuple[list[str | int], Any]]:
    """Yield the path of each value within a value, and the value."""
    yield [], value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from (([key, *path], found) for path, found in paths(item))


@given(VALUES, st.sampled_from([None, 0, 1, 4]), st.sampled_from([(",", ":"), (" , ", " : ")]), st.booleans())
def test_the_value_is_there(value: Any, indent: int | None, separators: tuple[str, str], ascii_only: bool) -> None:
    """At the line and the column of each value begins JSON of this value."""
    text = json.dumps(value, indent=indent, separators=separators, ensure_ascii=ascii_only)
    lines = text.split("\n")
    for path, expected in paths(value):
        _, line, _, column = position_in_json(text, path).split()
        rest = "\n".join(lines[int(line) - 1 :])[int(column) - 1 :]
        assert json.JSONDecoder().raw_decode(rest)[0] == expected


def test_equal_keys() -> None:
    """Of equal keys the last one counts, as for json.loads."""
    assert position_in_json('{"a": 1,\n "a": 2}', ["a"]) == "line 2 column 7"
