"""A PredictRequest is checked against a signature in TensorFlow Serving's order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.tensors import encode_tensor
from bertbundle_serving.errors import RequestError
from bertbundle_serving.requests.call import SignatureCall, read_call
from bertbundle_serving.runtimes.base import SignatureSpec, TensorSpec

VECTOR = np.ones(2, np.float32)
_X = {name: TensorSpec(name, np.dtype(np.float32), (None,), f"{name}:0") for name in ("w", "x")}
_Y = {"y": TensorSpec("y", np.dtype(np.float32), (None,), "y:0")}
SIGNATURES = {
    "defaults": SignatureSpec("defaults", _X, _Y, defaults={"w": np.array([10], np.float32)}, checks_shapes=False),
    "two": SignatureSpec("two", _X, _Y, checks_shapes=False),
    "checked": SignatureSpec("checked", _X, _Y),
    "batched": SignatureSpec("batched", _X, _Y, checks_shapes=False, batched=True),
}


def read(signature: str, outputs: tuple[str, ...] = (), **inputs: Any) -> SignatureCall:
    """Read a call with these inputs."""
    return read_call(
        wire.PredictRequest(
            model_spec=wire.ModelSpec(name="m", signature_name=signature),
            inputs={name: encode_tensor(np.asarray(value)) for name, value in inputs.items()},
            output_filter=outputs,
        ),
        SIGNATURES,
    )


def test_default_of_a_missing_input() -> None:
    """An input with a default may be missing."""
    assert read("defaults", x=VECTOR).inputs["w"].tolist() == [10.0]


@pytest.mark.parametrize(
    ("signature", "inputs", "text"),
    [
        pytest.param(
            "defaults",
            {"x": VECTOR, "bogus": VECTOR},
            "Inputs contains invalid name. Used request inputs: x, request input: bogus,x",
            id="extra-where-a-default-is-absent",
        ),
        pytest.param(
            "defaults",
            {"w": VECTOR, "x": VECTOR, "bogus": VECTOR},
            "input size does not match signature: 3!=2 len({bogus,w,x}) != len({w,x}). Sent extra: {bogus}. "
            "Missing but required: {}.",
            id="one-too-many",
        ),
        pytest.param(
            "defaults",
            {"w": VECTOR},
            "Signature input alias: x(feed name: x:0) not found in request and no default value provided. Inputs "
            "expected to be in the request {w}, or default input alias set: w",
            id="no-default",
        ),
        pytest.param(
            "two",
            {"x": VECTOR},
            "input size does not match signature: 1!=2 len({x}) != len({w,x}). Sent extra: {}. "
            "Missing but required: {w}.",
            id="missing",
        ),
        pytest.param("two", {"w": 1.0, "x": VECTOR}, "Expects arg[0] to be float but double is provided", id="dtype"),
        pytest.param("checked", {"w": VECTOR, "x": [VECTOR]}, "x has shape [1, 2], expected [?]", id="bundle-shape"),
        pytest.param(
            "batched",
            {"w": np.float32(1), "x": VECTOR},
            "Batching Run() input tensors must have at least one dimension.",
            id="no-batch-dimension",
        ),
    ],
)
def test_refused_calls(signature: str, inputs: dict[str, Any], text: str) -> None:
    """A call that does not fit the signature gets TensorFlow Serving's text."""
    with pytest.raises(RequestError) as caught:
        read(signature, **inputs)
    assert (caught.value.code, caught.value.message) == ("INVALID_ARGUMENT", text)


def test_shapes_are_checked_for_bundles_only() -> None:
    """The graph of any other SavedModel decides which shapes it takes."""
    assert read("two", w=VECTOR, x=[[VECTOR]]).inputs["x"].shape == (1, 1, 2)


def test_output_filter_before_dtypes() -> None:
    """Of a wrong output filter and a wrong dtype the filter is named, as TensorFlow Serving does."""
    with pytest.raises(RequestError, match="output tensor alias not found in signature: nope"):
        read("two", ("nope",), w=1.0, x=VECTOR)
