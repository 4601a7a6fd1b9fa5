"""The lengths of the signatures: by default, and as given."""

from __future__ import annotations

from typing import Any

import pytest

from bertbundle_export.errors import ExportError
from bertbundle_export.job.signature_lengths import signature_lengths
from bertbundle_export.options import ExportOptions


def shorter(*lengths: int) -> dict[str, int]:
    """Return the signatures of some lengths."""
    return {f"length_{length}": length for length in lengths}


@pytest.mark.parametrize(
    ("options", "limit", "expected"),
    [
        pytest.param({}, 512, shorter(*range(8, 65, 8), 80, 96, 112) | {"serving_default": 128}, id="default"),
        pytest.param({}, 48, shorter(8, 16, 24, 32, 40) | {"serving_default": 48}, id="short_model"),
        pytest.param(
            {"max_length": 512},
            512,
            shorter(*range(8, 65, 8), *range(80, 129, 16), *range(160, 257, 32), 320, 384, 448)
            | {"serving_default": 512},
            id="long",
        ),
        pytest.param({"max_length": 8}, 512, {"serving_default": 8}, id="shortest"),
        pytest.param(
            {"max_length": 100, "lengths": (50, 100, 20)},
            512,
            {"length_20": 20, "length_50": 50, "serving_default": 100},
            id="given",
        ),
        pytest.param({"precision": "bfloat16"}, 512, shorter(16, 32, 64) | {"serving_default": 128}, id="bfloat16"),
        pytest.param({"max_length": 36}, None, shorter(8, 16, 24, 32) | {"serving_default": 36}, id="no_limit_known"),
    ],
)
def test_lengths(options: dict[str, Any], limit: int | None, expected: dict[str, int]) -> None:
    """Default lengths are every 8 tokens, with larger steps for longer ones; fewer in bfloat16, to save memory."""
    assert signature_lengths(ExportOptions(**options), limit) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(
            {"max_length": 1000}, "max_length 1000 exceeds the model's max_position_embeddings 512", id="long"
        ),
        pytest.param({"lengths": (16, 256)}, "length 256 is not valid", id="over_max"),
        pytest.param({"lengths": (0,)}, "length 0 is not valid", id="zero"),
        pytest.param({"max_length": 2}, "length 2 is not valid", id="no_room"),
    ],
)
def test_invalid_lengths(options: dict[str, Any], message: str) -> None:
    """A length that the model does not support is refused."""
    with pytest.raises(ExportError, match=message):
        signature_lengths(ExportOptions(**options), 512)
