"""Predictions are encoded as JSON."""

from __future__ import annotations

from http_calls import fetch_json
from tiny_bundles import rest_instances


def test_large_response(url: str) -> None:
    """A large response, which is encoded in a thread, has the same rows as a small one."""
    rows = rest_instances(700)
    _, large = fetch_json(f"{url}/v1/models/tiny:predict", {"instances": rows})
    _, small = fetch_json(f"{url}/v1/models/tiny:predict", {"instances": rows[-3:]})
    assert (len(large["predictions"]), large["predictions"][-3:]) == (700, small["predictions"])
