"""Predictions are encoded as JSON."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from bertbundle_serving.errors import RequestError
from bertbundle_serving.rest_api.predictions import encode_predictions, read_predict_call
from bertbundle_serving.runtimes.base import Outputs, SignatureSpec
from http_calls import fetch_json
from tiny_bundles import rest_instances


def test_large_response(url: str) -> None:
    """A large response, which is encoded in a thread, has the same rows as a small one."""
    rows = rest_instances(700)
    _, large = fetch_json(f"{url}/v1/models/tiny:predict", {"instances": rows})
    _, small = fetch_json(f"{url}/v1/models/tiny:predict", {"instances": rows[-3:]})
    assert (len(large["predictions"]), large["predictions"][-3:]) == (700, small["predictions"])


@pytest.mark.parametrize(("name", "shown"), [("noinput", "noinput"), ("", "DEFAULT")])
def test_signature_without_inputs(name: str, shown: str) -> None:
    """A signature without inputs cannot be called by REST."""
    signatures = {key: SignatureSpec(key, {}, {}) for key in ("noinput", "serving_default")}
    instances: tuple[object, ...] = (1, {})
    for instance in instances:
        with pytest.raises(RequestError) as caught:
            read_predict_call(signatures, name, {"instances": [instance]})
        assert (caught.value.code, caught.value.message) == (
            "INVALID_ARGUMENT",
            f"Failed to get input map for signature: {shown}",
        )


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        pytest.param(
            {"c": np.int32(1), "k": np.ones(3), "y": np.ones(1)},
            "Tensor name: y has inconsistent batch size: 1 expecting: 3",
            id="unequal",
        ),
        pytest.param({"c": np.int32(1), "y": np.ones(1)}, "Tensor name: c has no shape information ", id="scalar"),
        pytest.param({}, "Cannot convert empty tensor map to JSON", id="none"),
    ],
)
def test_outputs_that_are_no_rows(outputs: Outputs, text: str) -> None:
    """Outputs of different numbers of rows have no row form."""
    with pytest.raises(RequestError) as caught:
        asyncio.run(encode_predictions({name: np.asarray(value) for name, value in outputs.items()}, by_row=True))
    assert (caught.value.code, caught.value.message) == ("INVALID_ARGUMENT", text)
