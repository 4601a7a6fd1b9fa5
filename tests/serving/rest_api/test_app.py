"""The REST API, called with urllib. tests/congruence/test_rest.py tests its errors."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

import pytest

from bertbundle_serving.rest_api import app, predictions
from embedded_server import Serve
from http_calls import fetch, fetch_json
from tiny_bundles import rest_columns, rest_instances
from waiting import wait_until


def test_row_format(url: str) -> None:
    """Instances get predictions, an object of outputs per row, with numbers in their shortest form."""
    status, answer = fetch_json(f"{url}/v1/models/tiny:predict", {"instances": rest_instances()})
    assert status == 200
    first, second = answer["predictions"]
    assert first["label_ids"] == list(range(8))
    assert first["logits"][:4] == [0.0, 0.1, 0.2, 0.3]
    assert second["label_ids"] == list(range(8, 16))


def test_column_format(url: str) -> None:
    """Inputs get outputs, an array per output."""
    status, answer = fetch_json(f"{url}/v1/models/tiny:predict", {"inputs": rest_columns()})
    assert status == 200
    assert answer["outputs"]["label_ids"] == [list(range(8)), list(range(8, 16))]


def test_single_input_and_strings(url: str) -> None:
    """A signature with one input accepts plain values; string outputs are JSON strings."""
    request = {"signature_name": "bundle_info", "instances": [0, 0]}
    status, answer = fetch_json(f"{url}/v1/models/tiny:predict", request)
    assert status == 200
    assert [json.loads(row["tokenizer"]) for row in answer["predictions"]] == [{"fake": "tokenizer"}] * 2


@pytest.mark.parametrize("path", ["/v1/models/tiny/versions/1", "/v1/models/tiny/labels/stable", "/V1/MODELS/tiny"])
def test_version_and_label(url: str, path: str) -> None:
    """A path may name a version or a label, in any case."""
    assert fetch_json(f"{url}{path}:predict", {"instances": rest_instances()})[0] == 200
    assert fetch_json(f"{url}{path}")[1]["model_version_status"][0]["version"] == "1"


def test_methods_are_in_lower_case(url: str) -> None:
    """Unlike the rest of the path, the method may not be in capitals."""
    refused = {"error": "Malformed request: POST /v1/models/tiny:Predict"}
    assert fetch_json(f"{url}/v1/models/tiny:Predict", {"instances": rest_instances()}) == (400, refused)


def test_status(url: str) -> None:
    """The status is in protobuf's JSON format."""
    status = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    assert fetch_json(f"{url}/v1/models/tiny") == (200, {"model_version_status": [status]})


def test_metadata(url: str) -> None:
    """The metadata list every signature with its tensors."""
    status, answer = fetch_json(f"{url}/v1/models/tiny/metadata")
    assert status == 200
    assert answer["model_spec"] == {"name": "tiny", "signature_name": "", "version": "1"}
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    assert set(signatures) == {"serving_default", "length_4", "bundle_info"}
    assert signatures["length_4"]["inputs"]["input_ids"] == {
        "dtype": "DT_INT32",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}, {"size": "4", "name": ""}], "unknown_rank": False},
        "name": "length_4_input_ids:0",
    }


def test_cors(url: str) -> None:
    """With the flag, responses have TensorFlow Serving's CORS headers."""
    status, headers, _ = fetch(f"{url}/v1/models/tiny", method="OPTIONS")
    assert (status, headers["access-control-allow-methods"]) == (200, "POST, GET")
    _, headers, _ = fetch(f"{url}/v1/models/tiny")
    assert headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("request_key", ["instances", "inputs"])
def test_large_body_does_not_block_others(url: str, request_key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large body is parsed and converted to arrays in a thread, a small body in the event loop."""
    threads: list[tuple[str, int]] = []
    for module, name in ((app, "parse_object"), (predictions, "row_inputs"), (predictions, "column_inputs")):
        monkeypatch.setattr(module, name, _recording(getattr(module, name), threads))
    make = rest_instances if request_key == "instances" else rest_columns
    key = "predictions" if request_key == "instances" else "outputs"
    _, small = fetch_json(f"{url}/v1/models/tiny:predict", {request_key: make(3)})
    _, large = fetch_json(f"{url}/v1/models/tiny:predict", {request_key: make(2003)})
    if request_key == "inputs":
        small, large = ({key: list(zip(*answer[key].values(), strict=True))} for answer in (small, large))
    assert large[key][:3] == small[key]
    loop = threads[0][1]
    assert [thread == loop for _, thread in threads] == [True, True, False, False]


def _recording(function: Any, threads: list[tuple[str, int]]) -> Any:
    """Return a wrapper of a function that records the thread of each call."""

    def wrapper(*arguments: Any) -> Any:
        threads.append((function.__name__, threading.get_ident()))
        return function(*arguments)

    return wrapper


def test_deadline(bundles: Any, serve: Serve, engine_gate: threading.Event) -> None:
    """A request that takes longer than the deadline gets 504."""
    bundles.write(1, warmup=b"")
    engine_gate.clear()
    server = serve(bundles.base, rest_port=0, rest_timeout_seconds=0.01).server
    url = f"http://127.0.0.1:{server.rest_port}/v1/models/tiny:predict"
    assert fetch_json(url, {"instances": rest_instances()}) == (504, {"error": "Timed out waiting for notification"})


def test_disconnect_cancels_the_request(bundles: Any, serve: Serve, engine_gate: threading.Event) -> None:
    """A REST request whose client disconnects while it waits is never computed."""
    bundles.write(1, warmup=b"")
    engine_gate.clear()
    server = serve(bundles.base, rest_port=0)
    url = f"http://127.0.0.1:{server.server.rest_port}/v1/models/tiny:predict"
    busy = [threading.Thread(target=fetch_json, args=(url, {"instances": rest_instances()})) for _ in range(2)]
    for thread in busy:
        thread.start()
    _wait_for_calls(server, 2)
    body = json.dumps({"instances": rest_instances(3)}).encode()
    head = f"POST /v1/models/tiny:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.server.rest_port or 0)) as caller:
        caller.sendall(head.encode() + body)
        _wait_for_calls(server, 3)
    _wait_for_calls(server, 2)
    engine_gate.set()
    for thread in busy:
        thread.join()
    _wait_for_calls(server, 0)
    # 2 rows each: the 3 rows were never in a batch.
    metrics = server.server.metrics.exposition()
    assert b'bertbundle_batch_rows_sum{model="tiny",signature="serving_default"} 4.0' in metrics


def _wait_for_calls(server: Any, number: int) -> None:
    wait_until(lambda: server.server.admission.calls_in_flight == number)
