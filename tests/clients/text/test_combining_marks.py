"""Combining marks at the end of a span."""

from __future__ import annotations

import pytest

from bertbundle.text.combining_marks import end_with_combining_marks


@pytest.mark.parametrize(
    ("text", "end", "expected"),
    [
        pytest.param("e\u0301 a", 1, 2, id="accent"),
        pytest.param("e\u0301\u0323", 1, 3, id="two-accents"),
        pytest.param("☺\ufe0f!", 1, 2, id="variation-selector"),
        pytest.param("👍\U0001f3fd", 1, 2, id="skin-tone"),
        pytest.param("王\u200b", 1, 1, id="zero-width-space"),
        pytest.param("ab", 1, 1, id="letter"),
        pytest.param("ab", 2, 2, id="end-of-text"),
    ],
)
def test_end_with_combining_marks(text: str, end: int, expected: int) -> None:
    """A span is extended by the combining marks after it, and by nothing else."""
    assert end_with_combining_marks(text, end) == expected
