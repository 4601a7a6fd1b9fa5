"""Responses are JSON in UTF-8, whatever the request had."""

from __future__ import annotations

from bertbundle_serving.rest_api.responses import encode_json


def test_text_is_not_escaped() -> None:
    """Characters are written as they are, indented by 4."""
    assert encode_json({"a": ["é", 1.5]}) == '{\n    "a": [\n        "é",\n        1.5\n    ]\n}'.encode()


def test_bytes_that_are_not_utf_8() -> None:
    """Bytes of a request that are not UTF-8, which its parser makes surrogates, become U+FFFD in an error."""
    assert encode_json("no \udcff, but é") == '"no \N{REPLACEMENT CHARACTER}, but é"'.encode()
