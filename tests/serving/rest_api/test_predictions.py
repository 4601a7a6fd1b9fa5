"""Predictions are encoded as JSON."""

from __future__ import annotations

from http_calls import fetch_json
from tiny_bundles import rest_instances


def test_large_answer_is_the_same(url: str) -> None:
    """An answer that is made in a thread has what a small one has, row by row."""
    rows = rest_instances(700)
    _, large = fetch_json(f"{url}/v1/models/tiny:predict", {"instances": rows})
    _, small = fetch_json(f"{url}/v1/models/tiny:predict", {"instances": rows[-3:]})
    assert (len(large["predictions"]), large["predictions"][-3:]) == (700, small["predictions"])
