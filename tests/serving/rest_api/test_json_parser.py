"""JSON of requests."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bertbundle_serving.rest_api.json_parser import YieldingDecoder


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
def test_parser_of_large_bodies(text: str) -> None:
    """The decoder that lets other threads in gives what the standard one gives, mistakes and their places too."""

    def parsed(**options: Any) -> str:
        try:
            return repr(json.loads(text, **options))
        except json.JSONDecodeError as error:
            return str(error)

    assert parsed(cls=YieldingDecoder) == parsed()
