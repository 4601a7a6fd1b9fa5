"""Classify, Regress and MultiInference: what fits, and what becomes of the outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bertbundle.wire import _wire_pb2 as wire
from bertbundle_serving.errors import RequestError
from bertbundle_serving.protos import _api_pb2 as api
from bertbundle_serving.requests.examples import (
    CLASSIFY_METHOD,
    REGRESS_METHOD,
    read_example_call,
    read_multi_inference_calls,
    to_classifications,
    to_regressions,
)
from bertbundle_serving.runtimes.base import Outputs, SignatureSpec, TensorSpec

STRING, FLOAT = np.dtype(object), np.dtype(np.float32)
EXAMPLES = api.Input(example_list=api.ExampleList(examples=[b"", b""]))


def signature(name: str, outputs: dict[str, np.dtype[Any]], inputs: str = "inputs") -> SignatureSpec:
    """Return a signature over tf.Examples, with an input tensor of its own as TensorFlow 2 saves it."""
    fed = {inputs: TensorSpec(inputs, STRING, (None,), f"{name}_{inputs}:0")}
    return SignatureSpec(name, fed, {alias: TensorSpec(alias, dtype, None, "y:0") for alias, dtype in outputs.items()})


SIGNATURES = {
    spec.name: spec
    for spec in (
        signature("classify", {"scores": FLOAT, "classes": STRING}),
        signature("regress", {"outputs": FLOAT}),
        signature("one_of_two", {"scores": FLOAT, "more": FLOAT}),
        signature("other_input", {"scores": FLOAT}, "examples"),
        signature("other_output", {"y": FLOAT}),
    )
}


def test_multi_inference_over_different_inputs() -> None:
    """Signatures with input tensors of their own, as TensorFlow 2 saves them, are computed on the same examples."""
    tasks = [
        api.InferenceTask(
            model_spec=wire.ModelSpec(name="m", signature_name=name), method_name=f"tensorflow/serving/{name}"
        )
        for name in ("classify", "regress")
    ]
    calls = read_multi_inference_calls(SIGNATURES, api.MultiInferenceRequest(tasks=tasks, input=EXAMPLES))
    assert [call.signature for call in calls] == ["classify", "regress"]
    assert [call.outputs for call in calls] == [("classes", "scores"), ("outputs",)]


def test_only_the_results_are_computed() -> None:
    """An output that Classify does not know is not computed."""
    assert read_example_call(SIGNATURES, "one_of_two", CLASSIFY_METHOD, EXAMPLES).outputs == ("scores",)


@pytest.mark.parametrize(
    ("name", "method", "text"),
    [
        ("other_input", CLASSIFY_METHOD, "No classification inputs found in SignatureDef: other_input"),
        ("other_output", REGRESS_METHOD, "No regression outputs found in SignatureDef: other_output"),
    ],
)
def test_other_names(name: str, method: str, text: str) -> None:
    """A signature whose tensors have other names than the method's is an invalid argument."""
    with pytest.raises(RequestError) as caught:
        read_example_call(SIGNATURES, name, method, EXAMPLES)
    assert (caught.value.code, caught.value.message) == ("INVALID_ARGUMENT", text)


_ONE, _TWO = np.ones((2, 1), np.float32), np.full((2, 2), b"a", object)


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        pytest.param(
            {"scores": _ONE, "classes": _TWO},
            "Tensors class and score should match in dim_size(1). Got 2 vs. 1",
            id="unequal",
        ),
        pytest.param(
            {"scores": _ONE[:, 0]}, "Expected Tensor shape: [batch_size num_classes] but got [2]", id="vector"
        ),
        pytest.param(
            {"scores": _ONE.astype(np.float64)}, "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE", id="double"
        ),
        pytest.param({"classes": _ONE}, "Expected classes Tensor of DT_STRING. Got: DT_FLOAT", id="no-strings"),
        pytest.param({"scores": _ONE[:1]}, "Expected scores output batch size of 2. Got: 1", id="rows"),
    ],
)
def test_classifications_refused(outputs: Outputs, text: str) -> None:
    """Outputs that are no classes and scores of the examples get TensorFlow Serving's text (classifier.cc)."""
    with pytest.raises(RequestError) as caught:
        to_classifications(outputs, 2)
    assert (caught.value.code, caught.value.message) == ("INVALID_ARGUMENT", text)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        pytest.param(
            _TWO, "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [2,2]", id="matrix"
        ),
        pytest.param(_ONE[:1], "Input batch size did not match output batch size: 2 vs. 1", id="rows"),
        pytest.param(_TWO[:, 0], "Expected output Tensor of DT_FLOAT.  Got: DT_STRING", id="strings"),
        pytest.param(np.ones(2, np.int32), "Expected output Tensor of DT_FLOAT.  Got: DT_INT32", id="integers"),
    ],
)
def test_regressions_refused(values: np.ndarray[Any, Any], text: str) -> None:
    """An output that is not a float for each example gets TensorFlow Serving's text (regressor.cc)."""
    with pytest.raises(RequestError) as caught:
        to_regressions({"outputs": values}, 2)
    assert (caught.value.code, caught.value.message) == ("INVALID_ARGUMENT", text)
