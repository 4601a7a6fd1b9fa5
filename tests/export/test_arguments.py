"""Values of the command's arguments."""

from __future__ import annotations

import pytest

from bertbundle_export.arguments import _settings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("filters=8,sizes=[2,3,4]", {"filters": 8, "sizes": [2, 3, 4]}, id="list"),
        pytest.param("name=a b, wide=true,", {"name": "a b", "wide": True}, id="spaces"),
        pytest.param('sizes=[2,3],by={"a": 1,"b": 2}', {"sizes": [2, 3], "by": {"a": 1, "b": 2}}, id="dict"),
    ],
)
def test_init_args(text: str, expected: dict[str, object]) -> None:
    """`--init-args` takes JSON values, with commas in them."""
    assert _settings(text) == expected
