"""The REST API of the embedded server, asked by plain urllib. tests/congruence holds the table of its errors."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.tensors import encode_tensors
from bertbundle_serving.dataplane.admission import Limits
from bertbundle_serving.errors import RequestError
from bertbundle_serving.rest_api import app as rest
from bertbundle_serving.rest_api.json_parser import parse_object
from bertbundle_serving.rest_api.tensors import column_inputs, row_inputs, to_plain
from bertbundle_serving.runtimes.base import TensorSpec
from http_calls import fetch, fetch_json
from waiting import wait_until

if TYPE_CHECKING:
    from tests.serving.conftest import Serve


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, bundle_writer: Any, in_process: Serve) -> Iterator[str]:
    """The REST root of a server of the tiny bundle, version 1, scale 0.1, label stable."""
    base = tmp_path_factory.mktemp("rest") / "tiny"
    base.mkdir()
    bundle_writer(base).write(1, scale=0.1)
    server = in_process(
        base,
        rest_port=0,
        poll_seconds=0,
        labels={"stable": 1},
        cors=True,
        metrics_path="/monitoring/prometheus/metrics",
    )
    yield f"http://127.0.0.1:{server.server.rest_port}"
    server.stop()


def columns(rows: int = 2) -> dict[str, Any]:
    """Return the tiny bundle's inputs as lists."""
    ids = [[(row * 8 + column) % 100 for column in range(8)] for row in range(rows)]
    return {"input_ids": ids, "attention_mask": [[1] * 8] * rows, "token_type_ids": [[0] * 8] * rows}


def instances(rows: int = 2) -> list[dict[str, Any]]:
    """Return the same, row by row."""
    values = columns(rows)
    return [{name: values[name][row] for name in values} for row in range(rows)]


def test_row_form(url: str) -> None:
    """Instances get predictions, an object of outputs per row, numbers in their shortest form."""
    status, answer = fetch_json(f"{url}/v1/models/tiny:predict", {"instances": instances()})
    assert status == 200
    first, second = answer["predictions"]
    assert first["label_ids"] == list(range(8))
    assert first["logits"][:4] == [0.0, 0.1, 0.2, 0.3]
    assert second["label_ids"] == list(range(8, 16))


def test_column_form(url: str) -> None:
    """Inputs get outputs, an array per output."""
    status, answer = fetch_json(f"{url}/v1/models/tiny:predict", {"inputs": columns()})
    assert status == 200
    assert answer["outputs"]["label_ids"] == [list(range(8)), list(range(8, 16))]


def test_single_input_and_strings(url: str) -> None:
    """A signature of one input takes plain values; strings are answered as they are."""
    asked = {"signature_name": "bundle_info", "instances": [0, 0]}
    status, answer = fetch_json(f"{url}/v1/models/tiny:predict", asked)
    assert status == 200
    assert [json.loads(row["tokenizer"]) for row in answer["predictions"]] == [{"fake": "tokenizer"}] * 2


@pytest.mark.parametrize("path", ["/v1/models/tiny/versions/1", "/v1/models/tiny/labels/stable", "/V1/MODELS/tiny"])
def test_version_and_label(url: str, path: str) -> None:
    """A version or a label may be named."""
    assert fetch_json(f"{url}{path}:predict", {"instances": instances()})[0] == 200
    assert fetch_json(f"{url}{path}")[1]["model_version_status"][0]["version"] == "1"


def test_status(url: str) -> None:
    """The status has protobuf's JSON form."""
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


def test_gzip_body(url: str) -> None:
    """A compressed body is unpacked."""
    body = gzip.compress(json.dumps({"instances": instances()}).encode())
    assert fetch(f"{url}/v1/models/tiny:predict", body, headers={"Content-Encoding": "gzip"})[0] == 200


def test_cors(url: str) -> None:
    """With the flag, pages of other origins may ask: the headers are TensorFlow Serving's."""
    status, headers, _ = fetch(f"{url}/v1/models/tiny", method="OPTIONS")
    assert (status, headers["access-control-allow-methods"]) == (200, "POST, GET")
    _, headers, _ = fetch(f"{url}/v1/models/tiny")
    assert headers["access-control-allow-origin"] == "*"


def test_metrics(url: str) -> None:
    """The metrics have TensorFlow Serving's names where it has them, and its labels."""
    fetch_json(f"{url}/v1/models/tiny:predict", {"instances": instances()})
    fetch_json(f"{url}/v1/models/any-name:predict", {"instances": instances()})
    status, headers, body = fetch(f"{url}/monitoring/prometheus/metrics")
    text = body.decode()
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert "# TYPE :tensorflow:serving:request_count counter\n" in text
    assert ':tensorflow:serving:request_count{model_name="tiny",status="OK"} ' in text
    assert (
        ':tensorflow:serving:request_latency_count{API="Predict",entrypoint="REST",model_name="tiny",status="OK"}'
        in text
    )
    assert (
        ':tensorflow:serving:runtime_latency_bucket{API="Predict",le="10.0",model_name="tiny",runtime="onnx float32"}'
        in text
    )
    assert 'bertbundle_queue_depth{model="tiny",signature="serving_default",version="1"} 0.0' in text
    for name in ("bertbundle_batch_rows_count", "bertbundle_tokens_total", "bertbundle_padding_tokens_total"):
        assert f'{name}{{model="tiny",signature="serving_default"}}' in text
    assert "any-name" not in text, "a client must not be able to fill the metrics with names"
    assert 'model_name="(other)",status="NOT_FOUND"' in text


def test_large_body_is_refused(bundles: Any, serve: Serve) -> None:
    """A body beyond the limit is refused before it is gathered, a compressed one, too."""
    bundles.write(1)
    limits = Limits(message_bytes=10_000)
    server = serve(bundles.base, rest_port=0, limits=limits).server
    url = f"http://127.0.0.1:{server.rest_port}/v1/models/tiny:predict"
    bomb = gzip.compress(b" " * 10_000_000)
    for body, headers in (
        (b" " * 20_000, {}),
        (bomb[:9000] if len(bomb) < 9000 else bomb, {"Content-Encoding": "gzip"}),
    ):
        status, _, answer = fetch(url, body, headers=headers)
        assert (status, json.loads(answer)["error"]) == (429, "Received message larger than max (10000 bytes)")


@pytest.mark.parametrize("path", ["/v1/models/tiny:predict", "/ui/ask"])
def test_slow_body_is_given_up(path: str, bundles: Any, serve: Serve) -> None:
    """A client that sends half a body gets an answer at the deadline, and others are served meanwhile."""
    bundles.write(1)
    server = serve(bundles.base, rest_port=0, rest_seconds=0.3, page=True).server
    with socket.create_connection(("127.0.0.1", server.rest_port or 0)) as slow:
        slow.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{".encode())
        asked = f"http://127.0.0.1:{server.rest_port}/v1/models/tiny:predict"
        assert fetch_json(asked, {"instances": instances()})[0] == 200
        slow.settimeout(20)
        assert slow.recv(100).startswith(b"HTTP/1.1 504 ")


def test_stalled_bodies_are_bounded(bundles: Any, serve: Serve) -> None:
    """Bodies that do not end hold so many bytes together, no more, and gRPC's callers are none the worse."""
    bundles.write(1)
    served = serve(bundles.base, rest_port=0, limits=Limits(total_bytes=5000))
    port = served.server.rest_port or 0
    with (
        socket.create_connection(("127.0.0.1", port)) as first,
        socket.create_connection(("127.0.0.1", port)) as second,
    ):
        answers = []
        for stalled in (first, second):
            head = b"POST /v1/models/tiny:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n"
            stalled.sendall(head + b" " * 3000)
            stalled.settimeout(1)
            with contextlib.suppress(TimeoutError):
                answers.append(stalled.recv(100)[:12])
        assert answers == [b"HTTP/1.1 429"]
        request = wire.PredictRequest(inputs=encode_tensors(bundles.features()))
        request.model_spec.name = "tiny"
        served.address.send("/tensorflow.serving.PredictionService/Predict", request.SerializeToString())
    url = f"http://127.0.0.1:{port}/v1/models/tiny:predict"
    wait_until(lambda: fetch_json(url, {"instances": instances(20)})[0] == 200)


@pytest.mark.parametrize("form", ["instances", "inputs"])
def test_large_body_holds_nobody_up(url: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large body is parsed, and made arrays of, in another thread than a small one, with the same answer."""
    threads: list[tuple[str, int]] = []
    for name in ("parse_object", "row_inputs", "column_inputs"):
        monkeypatch.setattr(rest, name, _noting(getattr(rest, name), threads))
    make = instances if form == "instances" else columns
    key = "predictions" if form == "instances" else "outputs"
    _, small = fetch_json(f"{url}/v1/models/tiny:predict", {form: make(3)})
    _, large = fetch_json(f"{url}/v1/models/tiny:predict", {form: make(2003)})
    if form == "inputs":
        small, large = ({key: list(zip(*answer[key].values(), strict=True))} for answer in (small, large))
    assert large[key][:3] == small[key]
    loop = threads[0][1]
    assert [thread == loop for _, thread in threads] == [True, True, False, False]


def _noting(function: Any, threads: list[tuple[str, int]]) -> Any:
    def noting(*arguments: Any) -> Any:
        threads.append((function.__name__, threading.get_ident()))
        return function(*arguments)

    return noting


def test_large_answer_is_the_same(url: str) -> None:
    """An answer that is made in a thread has what a small one has, row by row."""
    rows = instances(700)
    _, large = fetch_json(f"{url}/v1/models/tiny:predict", {"instances": rows})
    _, small = fetch_json(f"{url}/v1/models/tiny:predict", {"instances": rows[-3:]})
    assert (len(large["predictions"]), large["predictions"][-3:]) == (700, small["predictions"])


def test_deadline(bundles: Any, serve: Serve, engine_gate: threading.Event) -> None:
    """A request that takes longer than the deadline gets 504."""
    bundles.write(1, warmup=b"")
    engine_gate.clear()
    server = serve(bundles.base, rest_port=0, rest_seconds=0.01).server
    url = f"http://127.0.0.1:{server.rest_port}/v1/models/tiny:predict"
    assert fetch_json(url, {"instances": instances()}) == (504, {"error": "Timed out waiting for notification"})


def test_nobody_computes_for_a_caller_who_left(bundles: Any, serve: Serve, engine_gate: threading.Event) -> None:
    """A REST request whose caller hangs up while it waits is never computed."""
    bundles.write(1, warmup=b"")
    engine_gate.clear()
    server = serve(bundles.base, rest_port=0)
    url = f"http://127.0.0.1:{server.server.rest_port}/v1/models/tiny:predict"
    busy = [threading.Thread(target=fetch_json, args=(url, {"instances": instances()})) for _ in range(2)]
    for thread in busy:
        thread.start()
    _wait_for_calls(server, 2)
    body = json.dumps({"instances": instances(3)}).encode()
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
    wait_until(lambda: server.server._front._calls == number)


# ---- values

_SPECS = {
    "int32": TensorSpec("x", np.dtype(np.int32), None, "x:0"),
    "uint8": TensorSpec("x", np.dtype(np.uint8), None, "x:0"),
    "int64": TensorSpec("x", np.dtype(np.int64), None, "x:0"),
    "float": TensorSpec("x", np.dtype(np.float32), None, "x:0"),
    "bool": TensorSpec("x", np.dtype(bool), None, "x:0"),
    "string": TensorSpec("x", np.dtype(object), None, "x:0"),
}


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        pytest.param("int32", [[1, -2], [3, 4]], [[1, -2], [3, 4]], id="int32"),
        pytest.param("int64", 2**40, 2**40, id="scalar"),
        pytest.param("float", [1, 2.5, float("inf")], [1.0, 2.5, float("inf")], id="float"),
        pytest.param("bool", [True, False], [True, False], id="bool"),
        pytest.param("string", ["é", {"b64": "/w=="}], ["é".encode(), b"\xff"], id="string"),
        pytest.param("int32", [], [], id="empty"),
    ],
)
def test_values(kind: str, value: Any, expected: Any) -> None:
    """JSON values become arrays of the input's dtype, of the shape of the lists."""
    array = column_inputs(value, {"x": _SPECS[kind]})["x"]
    assert array.dtype == _SPECS[kind].dtype
    assert array.tolist() == expected


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        pytest.param("int32", 1.5, "JSON Value: 1.5 Type: Number is not of expected type: int32", id="float"),
        pytest.param("int32", True, "JSON Value: true Type: True is not of expected type: int32", id="bool"),
        pytest.param("int32", None, "JSON Value: null Type: Null is not of expected type: int32", id="null"),
        pytest.param("int32", 2**31, "JSON Value: 2147483648 Type: Number is not of expected type: int32", id="range"),
        pytest.param("uint8", 256, "JSON Value: 256 Type: Number is not of expected type: uint8", id="byte"),
        pytest.param("string", 1, "JSON Value: 1 Type: Number is not of expected type: string", id="number"),
        pytest.param("float", "1", 'JSON Value: "1" Type: String is not of expected type: float', id="text"),
        pytest.param(
            "float", 2**24, "Cannot convert JSON value: 16777216 to float without loss of precision.", id="precision"
        ),
        pytest.param("float", 1e39, "Cannot convert JSON value: 1e+39 to float without loss of precision.", id="large"),
        pytest.param("string", {"b64": "!"}, "Unable to base64 decode", id="base64"),
        pytest.param(
            "int32",
            [[1, 2], [3]],
            "Encountered list at unexpected size: 1 at level: 1 expected size: 2",
            id="ragged",
        ),
        pytest.param(
            "int32",
            [1, [2]],
            "Encountered list at unexpected level: 1 expected < 1",
            id="too-deep",
        ),
        pytest.param(
            "int32",
            [[1], 2],
            "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
            id="too-flat",
        ),
    ],
)
def test_wrong_values(kind: str, value: Any, text: str) -> None:
    """A value that does not fit gets TensorFlow Serving's text."""
    with pytest.raises(RequestError) as caught:
        column_inputs(value, {"x": _SPECS[kind]})
    assert (caught.value.code, caught.value.message) == ("INVALID_ARGUMENT", text)


def test_rows_must_be_alike() -> None:
    """Every row has the shape of the first."""
    with pytest.raises(
        RequestError, match=r"Failed to process element: 1 of 'instances' list\. Error: .* size: 2 but got: 1"
    ):
        row_inputs([[1, 2], [3]], {"x": _SPECS["int32"]}, {})


def test_strings_named_bytes_are_base64() -> None:
    """An output named ..._bytes is answered in base64, another as text."""
    strings = np.array([b"\xff"], object)
    assert to_plain({"a_bytes": strings, "a": strings}) == {"a_bytes": [{"b64": "/w=="}], "a": ["\ufffd"]}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        pytest.param(b"", "JSON Parse error: The document is empty", id="nothing"),
        pytest.param(b"  ", "JSON Parse error: The document is empty. at offset: 2", id="blank"),
        pytest.param(b"{x}", "JSON Parse error: Missing a name for object member. at offset: 1", id="name"),
        pytest.param(
            b'{"a" 1}', "JSON Parse error: Missing a colon after a name of object member. at offset: 5", id="colon"
        ),
        pytest.param(
            b'{"a":[1 2]}', "JSON Parse error: Missing a comma or ] after an array element. at offset: 8", id="array"
        ),
        pytest.param(
            b'{"]":1 "b"}', "JSON Parse error: Missing a comma or } after an object member. at offset: 7", id="object"
        ),
        pytest.param(
            b"{} 1", "JSON Parse error: The document root must not be followed by other values. at offset: 3", id="more"
        ),
        pytest.param(b"[1]", "JSON Value: [\n    1\n] Is not object", id="list"),
        pytest.param(b'{"a": \xff}', "JSON Parse error: Invalid encoding in string. at offset: 6", id="encoding"),
        pytest.param(b"[" * 100_000, "JSON Parse error: lists are nested too deeply", id="deep"),
        pytest.param(
            b"1" * 5000, "JSON Parse error: Number too big to be stored in double. at offset: 0", id="long-number"
        ),
    ],
)
def test_parse_errors(body: bytes, text: str) -> None:
    """What is no JSON object gets RapidJSON's text, as in TensorFlow Serving, and never breaks the server."""
    with pytest.raises(RequestError) as caught:
        parse_object(body)
    assert (caught.value.code, caught.value.message) == ("INVALID_ARGUMENT", text)
