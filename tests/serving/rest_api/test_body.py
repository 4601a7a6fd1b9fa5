"""Request bodies are decompressed, and limited in size and time."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.tensors import encode_tensors
from bertbundle_serving.dataplane.admission import Limits
from embedded_server import Serve
from http_calls import fetch, fetch_json
from tiny_bundles import rest_instances
from waiting import wait_until


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "identity, gzip"])
def test_gzip_body(url: str, encoding: str) -> None:
    """A gzip body is decompressed, whatever else the encoding names, as TensorFlow Serving does (evhttp_request.cc)."""
    body = gzip.compress(json.dumps({"instances": rest_instances()}).encode())
    assert fetch(f"{url}/v1/models/tiny:predict", body, headers={"Content-Encoding": encoding})[0] == 200


@pytest.mark.parametrize("change", [lambda body: body[:-1], lambda body: body + b"x"], ids=["truncated", "longer"])
def test_damaged_gzip_body(url: str, change: Callable[[bytes], bytes]) -> None:
    """A compressed body that ends too early or too late is refused."""
    body = change(gzip.compress(json.dumps({"instances": rest_instances()}).encode()))
    status, _, answer = fetch(f"{url}/v1/models/tiny:predict", body, headers={"Content-Encoding": "gzip"})
    assert (status, json.loads(answer)["error"].partition(":")[0]) == (
        400,
        "the Content-Encoding is gzip, but the body is not one gzip stream",
    )


def test_other_encodings_are_plain(url: str) -> None:
    """Only gzip in lower case is unpacked, as TensorFlow Serving does."""
    body = json.dumps({"instances": rest_instances()}).encode()
    for encoding in ("GZIP", "identity", "br"):
        assert fetch(f"{url}/v1/models/tiny:predict", body, headers={"Content-Encoding": encoding})[0] == 200


def test_large_body_is_refused(bundles: Any, serve: Serve) -> None:
    """A body beyond the limit is rejected before it is complete, and so is a body that decompresses beyond it."""
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


@pytest.mark.parametrize("path", ["/v1/models/tiny:predict", "/v1/models/tiny:entities"])
def test_slow_body(path: str, bundles: Any, serve: Serve) -> None:
    """A client that sends half a body gets an error at the deadline, and others are served meanwhile."""
    bundles.write(1)
    server = serve(bundles.base, rest_port=0, rest_timeout_seconds=0.3, page=True).server
    with socket.create_connection(("127.0.0.1", server.rest_port or 0)) as slow:
        slow.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{".encode())
        url = f"http://127.0.0.1:{server.rest_port}/v1/models/tiny:predict"
        assert fetch_json(url, {"instances": rest_instances()})[0] == 200
        slow.settimeout(20)
        assert slow.recv(100).startswith(b"HTTP/1.1 504 ")


def test_stalled_bodies_are_bounded(bundles: Any, serve: Serve) -> None:
    """Incomplete bodies together cannot exceed the limit, and they do not affect gRPC requests."""
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
    wait_until(lambda: fetch_json(url, {"instances": rest_instances(20)})[0] == 200)
