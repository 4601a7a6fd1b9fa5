"""Requests to a SavedModel that is no bundle: each server answers what a real tensorflow_model_server answered."""

from __future__ import annotations

import gzip
import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from http_calls import fetch
from many_signatures import DTYPES
from model_server import Addresses

pytestmark = pytest.mark.slow
SECONDS = 60


def nested(value: Any, depth: int) -> Any:
    """Return a value in so many lists."""
    for _ in range(depth):
        value = [value]
    return value


def column(signature: str, value: Any) -> dict[str, Any]:
    """Return a body in the column form."""
    return {"signature_name": signature, "inputs": value}


def row(signature: str, *instances: Any) -> dict[str, Any]:
    """Return a body in the row form."""
    return {"signature_name": signature, "instances": list(instances)}


def examples(signature: str, *values: Any) -> dict[str, Any]:
    """Return a body with tf.Examples."""
    return {"signature_name": signature, "examples": list(values)}


INF = math.inf
# Body (bytes as they are), and the answer. The method is Predict if the body has no examples.
ANSWERED: dict[str, tuple[Any, Any]] = {
    "33-lists-of-strings": (column("anystr", nested("a", 33)), {"outputs": nested("a", 33)}),
    "33-lists-for-a-vector": (column("t_st", nested("a", 33)), {"outputs": nested("a", 33)}),
    "vector-for-a-column": (row("column", 1.0, 2.0, 5.0), {"predictions": [2.5, 3.0, 4.5]}),
    "matrix-for-a-vector": (column("serving_default", [[1, 2]]), {"outputs": [[2.5, 3.0]]}),
    "rounded-float": (column("t_f32", [16777216, 16777217, 1e39]), {"outputs": [2.0**24, 2.0**24, INF]}),
    "rounded-double": (column("t_f64", [2**53 + 1]), {"outputs": [2.0**53]}),
    "short-infinities": (b'{"signature_name":"t_f32","inputs":[Inf,-Inf]}', {"outputs": [INF, -INF]}),
    "base64-without-padding": (column("t_st", [{"b64": "YQ"}]), {"outputs": ["a"]}),
    "not-utf-8": (
        b'{"signature_name":"text","instances":["\xff\xfe"]}',
        {"predictions": [{"n": 2, "o": "\ufffd\ufffd", "o_bytes": {"b64": "//4="}}]},
    ),
    "below-int64": (examples("regress", {"x": -(2**63) - 2}), {"results": [-(2.0**62)]}),
    "repeated-key": (b'{"signature_name":"serving_default","instances":[{"x":1,"x":2}]}', {"predictions": [2.5]}),
    "comment-behind": (b'{"signature_name":"t_i32","inputs":[1]} // a comment', {"outputs": [1]}),
    "classes": (examples("classify_classes", {"x": 1.0, "s": "a"}), {"results": [[["a", 0.0], ["a!", 0.0]]]}),
}

CANNOT_SPLIT = r"Tensors class and score should match in dim_size\(1\)\. Got 2 vs\. 1"
UNEQUAL_ROWS = (
    "y has inconsistent batch size: 1 expecting: 3|k has inconsistent batch size: 3 expecting: 1|"
    "c has no shape information "
)
# Body, status, text as a regular expression.
REFUSED: dict[str, tuple[Any, int, str]] = {
    "classes-and-scores": (examples("classify_mismatch", {"x": 1.0}), 400, CANNOT_SPLIT),
    "no-input": (row("noinput", 1), 400, "Failed to get input map for signature: noinput"),
    "no-input-named": (row("noinput", {}), 400, "Failed to get input map for signature: noinput"),
    "255-lists": (column("anyrank", nested(1, 255)), 400, "tensor parsing error: x"),
    "beyond-double": (
        b'{"signature_name":"t_f64","inputs":[1e400]}',
        400,
        r"JSON Parse error: Number too big to be stored in double\. at offset: 36",
    ),
    "lone-surrogate": (
        rb'{"signature_name":"t_st","inputs":["\ud800"]}',
        400,
        r"JSON Parse error: The surrogate pair in string is invalid\. at offset: \d+",
    ),
    "uint16": (column("t_u16", [1]), 501, "Conversion of JSON Value: 1 to type: uint16"),
    "division-by-zero": (column("idiv", [0]), 400, r"(?s)(\{\{.*?\}\} )*Integer division by zero\s.*"),
    # TensorFlow Serving looks at the outputs in the order of a hash map, which differs from run to run.
    "unequal-rows": (row("mixed", 1), 400, f"Tensor name: (?:{UNEQUAL_ROWS})"),
    "nan-in-a-message": (
        b'{"signature_name":"t_i32","inputs":[NaN]}',
        400,
        # Seen without the number; json_tensor.cc as of 2024 prints it.
        r"JSON Value: (?:NaN)? Type: Number is not of expected type: int32",
    ),
    "uint64-in-an-example": (
        examples("regress", {"x": 2**63}),
        400,
        r"Feature: x has uint64_t element\. Only int64(_t)? is supported\.",
    ),
    "two-documents": (b"{} {}", 400, "Missing 'inputs' or 'instances' key"),
    "complex-output": (column("to_complex", [1.0]), 400, "Failed to write JSON value for tensor type: complex64"),
}


def post(
    many: Addresses, body: Any, *, method: str = "", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    """Send a REST request. Answers of TensorFlow Serving may hold bytes that are not UTF-8."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    if not method:
        called = body.get("signature_name", "") if isinstance(body, dict) and "examples" in body else "predict"
        method = re.split("_", called)[0]
    status, _, answer = fetch(f"{many.rest}:{method}", data, headers=headers)
    document: dict[str, Any] = json.loads(answer.decode(errors="replace"))
    return status, document


@pytest.mark.parametrize(("body", "answer"), ANSWERED.values(), ids=ANSWERED)
def test_answered(many: Addresses, body: Any, answer: Any) -> None:
    """What the real server answers is answered so."""
    status, found = post(many, body)
    assert (status, rounded(found)) == (200, answer)


def rounded(value: Any) -> Any:
    """Return an answer with its floats rounded to float32: how many digits are printed differs."""
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(np.float32(value)) if isinstance(value, float) else value


@pytest.mark.parametrize("method", ["classify", "regress"])
def test_no_digits_of_double(many: Addresses, method: str) -> None:
    """Results are printed with the digits of float32: 1.05, not 1.0499999523162842."""
    signature = {"classify": "classify_scores", "regress": "regress"}[method]
    data = json.dumps(examples(signature, {"x": 0.1})).encode()
    _, _, answer = fetch(f"{many.rest}:{method}", data)
    assert re.search(rb"\b1\.05\b", answer), answer


@pytest.mark.parametrize(("body", "status", "text"), REFUSED.values(), ids=REFUSED)
def test_refused(many: Addresses, body: Any, status: int, text: str) -> None:
    """What the real server refuses is refused with its status and its text."""
    found, document = post(many, body)
    assert found == status
    assert re.fullmatch(text, document["error"]), document


def test_method_in_capitals(many: Addresses) -> None:
    """The method is in lower case."""
    text = "Malformed request: POST /v1/models/many:Predict"
    assert post(many, column("t_i32", [1]), method="Predict") == (400, {"error": text})


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"x"], ids=["truncated", "longer"])
def test_damaged_gzip(many: Addresses, change: Callable[[bytes], bytes]) -> None:
    """A body that is not one whole gzip stream is refused."""
    body = change(gzip.compress(json.dumps(column("t_i32", [1])).encode()))
    status, _, _ = fetch(f"{many.rest}:predict", body, headers={"Content-Encoding": "gzip"})
    assert status == 400


def test_plain_body_that_claims_gzip_in_capitals(many: Addresses) -> None:
    """The name of the encoding is in lower case."""
    headers = {"Content-Encoding": "GZIP"}
    assert post(many, column("t_i32", [1]), headers=headers) == (200, {"outputs": [1]})


# ---- gRPC


@pytest.fixture
def stub(many: Addresses, apis: Any) -> Iterator[Any]:
    """Give the official stub for each server."""
    with grpc.insecure_channel(many.grpc) as channel:
        yield apis.prediction_service_pb2_grpc.PredictionServiceStub(channel)


def predict_request(apis: Any, signature: str, **inputs: Any) -> Any:
    """Return a request with these TensorProtos."""
    request = apis.predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "many", signature
    for name, tensor in inputs.items():
        request.inputs[name].CopyFrom(tensor)
    return request


@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype(stub: Any, apis: Any, tensorflow: Any, name: str) -> None:
    """Every dtype is answered as it was sent, in any encoding."""
    numbers = np.array([1, 0, 1]).astype(tensorflow.as_dtype(DTYPES[name]).as_numpy_dtype)
    values = np.array([b"a", b"", b"c"]) if name == "st" else numbers
    for part in (values, values[:1], values[:0]):
        tensor = tensorflow.make_tensor_proto(part, dtype=DTYPES[name])
        answer = stub.Predict(predict_request(apis, f"t_{name}", x=tensor), timeout=SECONDS).outputs["y"]
        assert answer.dtype == tensor.dtype
        assert tensorflow.make_ndarray(answer).tolist() == tensorflow.make_ndarray(tensor).tolist()


@pytest.mark.parametrize(
    ("change", "values"),
    [
        pytest.param(lambda tensor: tensor.int_val.extend([5, 6, 7]), [5, 6], id="more-values"),
        pytest.param(lambda tensor: (tensor.tensor_shape.dim.pop(), tensor.int_val.append(5)), 5, id="scalar"),
        pytest.param(
            lambda tensor: tensor.tensor_shape.MergeFrom(type(tensor.tensor_shape)(unknown_rank=True)),
            [0, 0],
            id="unknown-rank",
        ),
        pytest.param(
            lambda tensor: (tensor.tensor_shape.dim.add(size=0), tensor.int_val.append(5)), [[], []], id="empty"
        ),
    ],
)
def test_odd_tensors(stub: Any, apis: Any, tensorflow: Any, change: Callable[[Any], Any], values: Any) -> None:
    """Tensors with more values than the shape holds, or whose rank is said to be unknown, are taken."""
    tensor = tensorflow.make_tensor_proto([0, 0], dtype="int32")
    tensor.ClearField("tensor_content")
    tensor.ClearField("int_val")
    change(tensor)
    answer = stub.Predict(predict_request(apis, "anyint", x=tensor), timeout=SECONDS)
    assert tensorflow.make_ndarray(answer.outputs["y"]).tolist() == values


def test_strings_of_33_dimensions(stub: Any, apis: Any) -> None:
    """Strings of more than 32 dimensions are answered."""
    request = predict_request(apis, "anystr")
    tensor = request.inputs["x"]
    tensor.dtype, tensor.string_val[:] = 7, [b"a"]
    for _ in range(33):
        tensor.tensor_shape.dim.add(size=1)
    answer = stub.Predict(request, timeout=SECONDS).outputs["y"]
    assert (len(answer.tensor_shape.dim), list(answer.string_val)) == (33, [b"a"])


def test_bool_of_another_byte(stub: Any, apis: Any, tensorflow: Any) -> None:
    """A bool in tensor_content is a byte of 0 or 1."""
    tensor = tensorflow.make_tensor_proto([True])
    tensor.ClearField("bool_val")
    tensor.tensor_content = b"\x02"
    with pytest.raises(grpc.RpcError) as caught:
        stub.Predict(predict_request(apis, "t_bl", x=tensor), timeout=SECONDS)
    assert (caught.value.code(), caught.value.details()) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "tensor parsing error: x",
    )


def test_unknown_input_beside_a_default(stub: Any, apis: Any, tensorflow: Any) -> None:
    """An unknown input is refused also if an input with a default is absent."""
    tensor = tensorflow.make_tensor_proto([1.0])
    with pytest.raises(grpc.RpcError) as caught:
        stub.Predict(predict_request(apis, "defaults", x=tensor, bogus=tensor), timeout=SECONDS)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details().startswith("Inputs contains invalid name. Used request inputs: x")


def test_output_filter_before_dtype(stub: Any, apis: Any, tensorflow: Any) -> None:
    """Of a wrong output filter and a wrong dtype, the filter is named."""
    request = predict_request(apis, "serving_default", x=tensorflow.make_tensor_proto([1]))
    request.output_filter.append("nope")
    with pytest.raises(grpc.RpcError, match="output tensor alias not found in signature: nope"):
        stub.Predict(request, timeout=SECONDS)


def test_multi_inference_over_two_inputs(stub: Any, apis: Any) -> None:
    """Signatures that TensorFlow 2 saved have input tensors of their own."""
    request = apis.inference_pb2.MultiInferenceRequest()
    request.input.example_list.examples.add().features.feature["x"].float_list.value.append(1.0)
    for method in ("classify", "regress"):
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name, task.model_spec.signature_name = "many", method
    classified, regressed = stub.MultiInference(request, timeout=SECONDS).results
    assert [c.score for c in classified.classification_result.classifications[0].classes] == [1.5, -0.5]
    assert regressed.regression_result.regressions[0].value == 1.5
