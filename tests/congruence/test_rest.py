"""The same REST requests, sent with urllib, get the same status and the same text from every server.

The texts are those in TensorFlow Serving's sources, and of a real server if one is available.
"""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from http_calls import fetch, fetch_json

pytestmark = pytest.mark.slow

PREDICT = "/v1/models/minilm:predict"
LENGTH = 16
AVAILABLE = {
    "model_version_status": [
        {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    ]
}


def row(**changed: Any) -> dict[str, Any]:
    """Return one row of a request; inputs that are None are left out."""
    ids = [101, *[2003] * (LENGTH - 2), 102]
    values = {"input_ids": ids, "attention_mask": [1] * LENGTH, "token_type_ids": [0] * LENGTH} | changed
    return {name: value for name, value in values.items() if value is not None}


def rows(*instances: Any, **fields: Any) -> dict[str, Any]:
    """Return a body in the row format."""
    return {"signature_name": f"length_{LENGTH}", "instances": list(instances), **fields}


def column(**changed: Any) -> dict[str, Any]:
    """Return a body in the column format."""
    values = {name: [value] for name, value in row().items()} | changed
    inputs = {name: value for name, value in values.items() if value is not None}
    return {"signature_name": f"length_{LENGTH}", "inputs": inputs}


FAILED = r"Failed to process element: "
# Name, path, body (None: a GET request; bytes are sent unchanged), status, text as a regular expression.
CASES: list[tuple[str, str, Any, int, str]] = [
    ("no-such-path", "/v1/nothing", None, 400, r"Malformed request: GET /v1/nothing"),
    ("no-such-method", "/v1/models/minilm:guess", {}, 400, r"Malformed request: POST /v1/models/minilm:guess"),
    ("get-of-predict", PREDICT, None, 400, r"Malformed request: GET /v1/models/minilm:predict"),
    ("post-of-status", "/v1/models/minilm", {}, 400, r"Malformed request: POST /v1/models/minilm"),
    ("version-no-number", "/v1/models/minilm/versions/x:predict", {}, 400, r"Malformed request: POST .*"),
    ("status-unknown-model", "/v1/models/nomodel", None, 404, r"Could not find any versions of model nomodel"),
    (
        "status-unknown-version",
        "/v1/models/minilm/versions/99",
        None,
        404,
        r"Could not find version 99 of model minilm",
    ),
    (
        "metadata-unknown-model",
        "/v1/models/nomodel/metadata",
        None,
        404,
        r"Servable not found for request: Latest\(nomodel\)",
    ),
    (
        "unknown-model",
        "/v1/models/nomodel:predict",
        rows(row()),
        404,
        r"Servable not found for request: Latest\(nomodel\)",
    ),
    (
        "unknown-version",
        "/v1/models/minilm/versions/99:predict",
        rows(row()),
        404,
        r"Servable not found for request: Specific\(minilm, 99\)",
    ),
    (
        "unknown-label",
        "/v1/models/minilm/labels/none:predict",
        rows(row()),
        400,
        r"Unrecognized servable version label: none",
    ),
    (
        "unknown-signature",
        PREDICT,
        {"signature_name": "nope", "instances": [row()]},
        400,
        r'Serving signature name: "nope" not found in signature def',
    ),
    (
        "signature-no-string",
        PREDICT,
        {"signature_name": 1, "instances": [1]},
        400,
        r"(?s)JSON Value: \{.*\} not formatted correctly\. 'signature_name' key must be a string value\.",
    ),
    ("empty-body", PREDICT, b"", 400, r"JSON Parse error: The document is empty"),
    ("no-json", PREDICT, b"{x}", 400, r"JSON Parse error: Missing a name for object member\. at offset: 1"),
    ("bad-value", PREDICT, b'{"instances": ?}', 400, r"JSON Parse error: Invalid value\. at offset: 14"),
    (
        "more-than-one",
        PREDICT,
        b"{} {}",
        400,
        # Older servers, by their RapidJSON: the document root must not be followed by other values.
        r"Missing 'inputs' or 'instances' key|JSON Parse error: The document root must not be followed by .*",
    ),
    ("no-object", PREDICT, b"[]", 400, r"JSON Value: \[\] Is not object"),
    ("no-inputs", PREDICT, {}, 400, r"Missing 'inputs' or 'instances' key"),
    (
        "both-forms",
        PREDICT,
        {"instances": [1], "inputs": [1]},
        400,
        r"(?s)JSON Value: .* Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ",
    ),
    (
        "instances-no-list",
        PREDICT,
        {"instances": 1},
        400,
        r"(?s)JSON Value: .* (Expecting|Excepting) 'instances' to be an list/array",  # the latter from older servers
    ),
    ("instances-empty", PREDICT, {"instances": []}, 400, r"(?s)JSON Value: .* No values in 'instances' array"),
    (
        "plain-instances",
        PREDICT,
        rows([1, 2]),
        400,
        (
            r"instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            r"tensorinfo_map"
        ),
    ),
    (
        "plain-inputs",
        PREDICT,
        {"inputs": [1]},
        400,
        (
            r"inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
            r"tensorinfo_map"
        ),
    ),
    (
        "instance-no-object",
        PREDICT,
        rows(row(), [1]),
        400,
        r"Expecting object but got list at item 1 of input list",
    ),
    (
        "missing-key",
        PREDICT,
        rows(row(token_type_ids=None)),
        400,
        # Older versions of TensorFlow Serving say "must only have keys"; up to which version is not known.
        FAILED + r"0 of 'instances' list\. JSON object: \{(?s:.*)\} (keys must be equal to|must only have keys): "
        r"attention_mask,input_ids,token_type_ids",
    ),
    (
        "unknown-key",
        PREDICT,
        rows({"bogus": 1}),
        400,
        FAILED + r"0 key: bogus of 'instances' list\. Error: INVALID_ARGUMENT: "
        r"JSON object: does not have named input: bogus",
    ),
    ("missing-column", PREDICT, column(input_ids=None), 400, r"Missing named input: input_ids in 'inputs' object\."),
    (
        "float-for-id",
        PREDICT,
        rows({"input_ids": [1.5] * LENGTH, "attention_mask": [1] * LENGTH, "token_type_ids": [0] * LENGTH}),
        400,
        FAILED + r"0 key: input_ids of 'instances' list\. Error: INVALID_ARGUMENT: "
        r"JSON Value: 1\.5 Type: Number is not of expected type: int32",
    ),
    (
        "string-for-id",
        PREDICT,
        column(input_ids="a"),
        400,
        r'JSON Value: "a" Type: String is not of expected type: int32',
    ),
    (
        "object-for-id",
        PREDICT,
        column(input_ids={"b64": "YQ=="}),
        400,
        r'(?s)JSON Value: \{\s*"b64": "YQ=="\s*\} Type: Object is not of expected type: int32',
    ),
    (
        "ragged-column",
        PREDICT,
        column(input_ids=[[1, 2], [3]]),
        400,
        r"Encountered list at unexpected size: 1 at level: 1 expected size: 2",
    ),
    (
        "rows-of-unequal-length",
        PREDICT,
        rows(row(), row(input_ids=[1])),
        400,
        FAILED
        + r"1 key: input_ids of 'instances' list\. Error: INVALID_ARGUMENT: Expecting tensor size: 16 but got: 1",
    ),
    ("wrong-length", PREDICT, column(input_ids=[[1] * 17]), 400, r"(?s).*\b17\b.*"),
    (
        "no-examples",
        "/v1/models/minilm:classify",
        {},
        400,
        r"(?s)JSON Value: .*When method is classify, key 'examples' is expected and was not found",
    ),
    (
        "examples-no-list",
        "/v1/models/minilm:regress",
        {"examples": 1},
        400,
        r"(?s)JSON Value: .*Expecting 'examples' value to be an list/array",
    ),
    (
        "examples-empty",
        "/v1/models/minilm:classify",
        {"examples": []},
        400,
        r"(?s)JSON Value: .*'examples' value is an empty array",
    ),
]


@pytest.mark.parametrize(("path", "body", "status", "text"), [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_errors(rest: str, path: str, body: Any, status: int, text: str) -> None:
    """An invalid REST request gets TensorFlow Serving's status and message."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    actual, headers, answer = fetch(rest + path, data)
    message = json.loads(answer)["error"]
    assert (actual, headers["content-type"]) == (status, "application/json")
    assert re.fullmatch(text, message), message


def test_outside_the_api(rest: str) -> None:
    """A path outside the API is not found."""
    assert fetch(f"{rest}/v2/models/minilm")[0] == 404


def test_without_a_model(rest: str, runtime: str) -> None:
    """TensorFlow Serving has no list of models; the embedded server has one on purpose."""
    status, answer = fetch_json(f"{rest}/v1/models")
    if runtime == "tensorflow_model_server":
        assert (status, answer) == (400, {"error": "Missing model name in request."})
    else:
        assert (status, [model["id"] for model in answer["data"]]) == (200, ["minilm"])


def test_version_too_large(rest: str, runtime: str) -> None:
    """A version beyond 64 bits is refused; TensorFlow Serving sends an empty body, the embedded server the reason."""
    status, _, answer = fetch(f"{rest}/v1/models/minilm/versions/99999999999999999999")
    assert status == 400
    if runtime != "tensorflow_model_server" or answer:
        text = "Failed to convert version: 99999999999999999999 to numeric."
        assert json.loads(answer) == {"error": text}


def test_status_of_unknown_label(rest: str, runtime: str) -> None:
    """The status for an unknown label: TensorFlow Serving lists every version, the embedded server refuses it."""
    found = fetch_json(f"{rest}/v1/models/minilm/labels/none")
    refused = (400, {"error": "Unrecognized servable version label: none"})
    # get_model_status_impl.cc ignores the label; that was read, not tried, so a real server may also refuse it.
    assert found == refused or (runtime == "tensorflow_model_server" and found == (200, AVAILABLE))


def test_examples_to_a_bundle(rest: str, runtime: str) -> None:
    """A bundle accepts no tf.Examples: the real server counts its inputs, the embedded server says what to do."""
    status, answer = fetch_json(f"{rest}/v1/models/minilm:classify", {"examples": [{"x": 1}]})
    real = runtime == "tensorflow_model_server"
    assert status == (400 if real else 501)
    assert answer["error"].startswith("Expected one input Tensor." if real else "the model has no classification")


@pytest.mark.parametrize("version", ["", "/versions/1", "/labels/blessed"])
def test_formats_agree(rest: str, version: str) -> None:
    """The row and the column format, with a version, a label or neither, return the same numbers."""
    path = f"{rest}/v1/models/minilm{version}:predict"
    status, by_row = fetch_json(path, rows(row()))
    assert status == 200
    status, by_column = fetch_json(path, column())
    assert status == 200
    assert set(by_row["predictions"][0]) == {"last_hidden_state", "pooler_output", "sentence_embedding"}
    for name, value in by_column["outputs"].items():
        # These are two computations, and threads may add values in a different order.
        np.testing.assert_allclose(by_row["predictions"][0][name], value[0], rtol=0, atol=1e-5)


def test_strings(rest: str) -> None:
    """A signature with one input accepts plain values, and strings are returned as text."""
    request = {"signature_name": "bundle_info", "instances": [0]}
    status, answer = fetch_json(f"{rest}{PREDICT}", request)
    assert status == 200
    assert json.loads(answer["predictions"][0]["manifest"])["name"] == "minilm"


@pytest.mark.parametrize("path", ["/v1/models/minilm", "/v1/models/minilm/versions/1", "/V1/MODELS/minilm"])
def test_status(rest: str, path: str) -> None:
    """The only version is AVAILABLE, in protobuf's JSON format; paths are case-insensitive, except for names."""
    assert fetch_json(rest + path) == (200, AVAILABLE)


@pytest.mark.parametrize("version", ["", "/versions/1", "/labels/blessed"])
def test_metadata(rest: str, version: str) -> None:
    """The metadata describe each input, with a version, a label or neither."""
    status, answer = fetch_json(f"{rest}/v1/models/minilm{version}/metadata")
    assert status == 200
    assert answer["model_spec"] == {"name": "minilm", "signature_name": "", "version": "1"}
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    ids = signatures["length_16"]["inputs"]["input_ids"]
    assert (ids["dtype"], [dim["size"] for dim in ids["tensor_shape"]["dim"]]) == ("DT_INT32", ["-1", "16"])
    assert signatures["length_16"]["method_name"] == "tensorflow/serving/predict"


def test_metrics(rest: str) -> None:
    """The metrics count requests under TensorFlow Serving's name."""
    fetch_json(f"{rest}{PREDICT}", rows(row()))
    status, _, body = fetch(f"{rest}/monitoring/prometheus/metrics")
    assert status == 200
    assert b':tensorflow:serving:request_count{model_name="minilm",status="OK"}' in body
