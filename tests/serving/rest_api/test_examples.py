"""tf.Examples and their results as JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bertbundle_serving.errors import RequestError
from bertbundle_serving.protos import _api_pb2 as api
from bertbundle_serving.rest_api.examples import classifications_document, examples_input, regressions_document
from bertbundle_serving.rest_api.json_parser import parse_object


def feature(body: bytes) -> Any:
    """Return the feature x of the first example of a request."""
    serialized = examples_input(parse_object(body)).example_list.examples[0]
    return api.Example.FromString(serialized).features.feature["x"]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (b"16777217.0", [2.0**24]),
        (b"1e39", [np.inf]),
        (b"-Inf", [-np.inf]),
        (b"-9223372036854775809", [-(2.0**63)]),
        (b"18446744073709551616", [2.0**64]),
    ],
)
def test_floats(text: bytes, values: list[float]) -> None:
    """Numbers that do not fit float are rounded, also integers that fit neither int64 nor uint64."""
    assert list(feature(b'{"examples": [{"x": %s}]}' % text).float_list.value) == values


def test_integers() -> None:
    """The limits of int64 are integers; what fits only uint64 is refused."""
    assert list(feature(b'{"examples": [{"x": [-9223372036854775808, true]}]}').int64_list.value) == [-(2**63), 1]
    with pytest.raises(RequestError, match="Feature: x has uint64_t element"):
        feature(b'{"examples": [{"x": 9223372036854775808}]}')


def test_bytes() -> None:
    """Strings may hold any bytes; base64 needs no padding."""
    assert list(feature(b'{"examples": [{"x": ["\xff", {"b64": "YQ"}]}]}').bytes_list.value) == [b"\xff", b"a"]


def test_names_are_text() -> None:
    """A name that is not UTF-8 is replaced: protobuf has no such strings."""
    serialized = examples_input(parse_object(b'{"examples": [{"\xe0": 1}]}')).example_list.examples[0]
    assert list(api.Example.FromString(serialized).features.feature) == ["\ufffd"]


def test_the_last_of_repeated_features_counts() -> None:
    """Of a feature that an example has twice, the last one counts, of any kind."""
    assert list(feature(b'{"examples": [{"x": "a", "x": 1.5}]}').float_list.value) == [1.5]


def test_results_have_the_digits_of_float32() -> None:
    """Scores and values are float32: they are printed without the digits that double adds."""
    value = float(np.float32(1.05))
    regressions = api.RegressionResult(regressions=[api.Regression(value=value), api.Regression(value=np.nan)])
    assert str(regressions_document(regressions)) == "{'results': [1.05, nan]}"
    scored = api.Classifications(classes=[api.Class(label="a", score=value)])
    assert classifications_document(api.ClassificationResult(classifications=[scored])) == {"results": [[["a", 1.05]]]}
