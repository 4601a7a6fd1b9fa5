"""The REST transport against an HTTP server in this process that answers as TensorFlow Serving does."""

from __future__ import annotations

import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle import (
    Client,
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    PredictCall,
    Retries,
    ServerError,
    ServerUnavailable,
    SignatureNotFound,
    Tls,
)
from bertbundle.transports.rest import RestTransport

Answer = Callable[[str, Any], "tuple[int, Any]"]


class RestServer:
    """An HTTP server; `answer` gets path and body and gives status and JSON, or bytes."""

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                outer.requests.append((self.path, dict(self.headers)))
                size = int(self.headers.get("content-length", 0))
                status, value = answer(self.path, json.loads(self.rfile.read(size)) if size else None)
                data = value if isinstance(value, bytes) else json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = handle_any  # noqa: N815 - names of the standard library

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign] # clients that hang up are the tests' own
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
            self.url = f"https://localhost:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def start_rest() -> Iterator[Callable[[Answer], RestServer]]:
    """Start HTTP servers that end with the test."""
    started: list[RestServer] = []

    def start_one(answer: Answer, tls: ssl.SSLContext | None = None) -> RestServer:
        started.append(RestServer(answer, tls))
        return started[-1]

    yield start_one
    for server in started:
        server.stop()


def status_of(*versions: int, state: str = "AVAILABLE") -> Any:
    """Return what GET /v1/models/M answers. Source: TensorFlow Serving's REST documentation, versions as strings."""
    rows = [{"version": str(n), "state": state, "status": {"error_code": "OK", "error_message": ""}} for n in versions]
    return 200, {"model_version_status": rows}


def serve(*models: Any) -> Answer:
    """Answer for the versions of a model named ``tiny``; the dict `models` maps version to model."""
    (served,) = models

    def answer(path: str, body: Any) -> tuple[int, Any]:
        if body is None:
            return status_of(*served) if path == "/v1/models/tiny" else (404, {"error": "Could not find any versions"})
        match = re.fullmatch(r"/v1/models/tiny/versions/(\d+):predict", path)
        if not match or int(match[1]) not in served:
            return 404, {"error": "Servable not found for request: Specific(tiny)"}
        inputs = {name: np.array(value, np.int32) for name, value in body["inputs"].items()}
        model = served[int(match[1])]
        names = ("manifest", "tokenizer") if body["signature_name"] == "bundle_info" else ("label_ids", "label_scores")
        outputs = model.run(body["signature_name"], inputs, names)
        return 200, {"outputs": {name: plain(value) for name, value in outputs.items()}}

    return answer


def plain(value: Any) -> Any:
    """Return an array as JSON has it."""
    return [each.decode() for each in value] if value.dtype == object else value.tolist()


OPENED: list[RestTransport] = []


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    """Close the connections that a test opened."""
    yield
    while OPENED:
        OPENED.pop().close()


def connect(url: str, **options: Any) -> RestTransport:
    """Return a transport that is closed with the test."""
    OPENED.append(RestTransport(url, **options))
    return OPENED[-1]


def test_client_over_rest(fakes: Any, start_rest: Any) -> None:
    """A client over REST gives what a client over gRPC gives, status included."""
    server = start_rest(serve({1: fakes.Model()}))
    texts = ["Wang lives in Berlin", "王建国 " * 9, "a"]
    with Client("", "tiny", transport=connect(server.url)) as client:
        answers = client.entities(texts)
        assert client.status()[0].state == "AVAILABLE"
    direct = Client("", "tiny", transport=fakes.FakeTransport()).entities(texts)
    assert [[(e.label, e.start, e.end) for e in each] for each in answers] == [
        [(e.label, e.start, e.end) for e in each] for each in direct
    ]


def test_another_version_over_rest(fakes: Any, start_rest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new version is found out although answers over REST do not say theirs."""
    monkeypatch.setattr("bertbundle.transports.rest._VERSION_SECONDS", 0.0)
    served = {1: fakes.Model()}
    server = start_rest(serve(served))
    client = Client("", "tiny", transport=connect(server.url))
    assert client.entities("wang")[0].label == "PER"
    served[2] = fakes.Model(fakes.make_manifest(labels=("O", "B-ORG", "I-ORG", "B-GPE", "I-GPE")), version=2)
    assert client.entities("wang")[0].label == "ORG"


def test_a_version_that_is_gone(fakes: Any, start_rest: Any) -> None:
    """When the version that was the newest is gone, its successor is asked."""
    served = {1: fakes.Model()}
    client = Client("", "tiny", transport=connect(start_rest(serve(served)).url))
    assert client.entities("wang")
    served[2] = served.pop(1)
    assert client.entities("wang")


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        pytest.param(400, "tensor parsing error: input_ids", InvalidRequest, id="400"),
        pytest.param(400, 'Serving signature key "nope" not found.', SignatureNotFound, id="signature"),
        pytest.param(404, "Servable not found for request: Latest(x)", ModelNotFound, id="404"),
        pytest.param(429, "Server Threadpool Exhausted", Overloaded, id="429"),
        pytest.param(503, "The batch scheduling queue is full", Overloaded, id="503-queue"),
        pytest.param(503, "away", ServerUnavailable, id="503"),
        pytest.param(504, "Timed out waiting for notification", DeadlineExceeded, id="504"),
        pytest.param(500, "broken", ServerError, id="500"),
        pytest.param(418, "teapot", ServerError, id="418"),
    ],
)
def test_errors(start_rest: Any, status: int, text: str, kind: type[ServerError]) -> None:
    """Each HTTP status becomes the error that gRPC's would, with the server's text."""
    transport = connect(start_rest(lambda *_: (status, {"error": text})).url)
    with pytest.raises(kind) as caught:
        transport.predict(PredictCall("tiny", "s", {}, version=1), timeout=5)
    assert type(caught.value) is kind
    assert caught.value.details == text


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param(b"<html>", "not JSON", id="html"),
        pytest.param({"predictions": []}, "outputs that cannot be read", id="row-form"),
        pytest.param({"outputs": {"a": [[1], [1, 2]]}}, "outputs that cannot be read", id="ragged"),
    ],
)
def test_answers_that_cannot_be_read(start_rest: Any, value: Any, message: str) -> None:
    """An answer that is not what the API says is a ServerError."""
    transport = connect(start_rest(lambda *_: (200, value)).url)
    with pytest.raises(ServerError, match=message):
        transport.predict(PredictCall("tiny", "s", {}, outputs=("a",), version=1), timeout=5)


def test_one_output_has_no_name(start_rest: Any) -> None:
    """TensorFlow Serving sends the only output of a signature without its name: it is the one that was asked for."""
    transport = connect(start_rest(lambda *_: (200, {"outputs": [[0.5], [1.0]]})).url)
    outputs = transport.predict(PredictCall("tiny", "s", {}, outputs=("value",), version=1), timeout=5).outputs
    assert outputs["value"].tolist() == [[0.5], [1.0]]
    assert outputs["value"].dtype == np.float32


def test_token_and_headers(start_rest: Any) -> None:
    """Bearer token and metadata are headers of each request; a token may be a function."""
    server = start_rest(lambda *_: status_of(1))
    tokens = iter(["a", "b"])
    transport = connect(server.url + "/base/", token=lambda: next(tokens), metadata={"X-Team": "search"})
    for _ in range(2):
        transport.status("tiny", timeout=5)
    assert [path for path, _ in server.requests] == ["/base/v1/models/tiny"] * 2
    assert [headers["authorization"] for _, headers in server.requests] == ["Bearer a", "Bearer b"]
    assert server.requests[0][1]["x-team"] == "search"


def test_deadline(start_rest: Any) -> None:
    """A server that does not answer in time is a DeadlineExceeded, in time."""
    go_on, answered = threading.Event(), list[bool]()

    def slow(*_: Any) -> Any:
        answered.append(go_on.wait(20))
        return status_of(1)

    with pytest.raises(DeadlineExceeded):
        connect(start_rest(slow).url).status("tiny", timeout=0.2)
    assert answered == []
    go_on.set()


def test_nobody_there_and_reconnect(fakes: Any, start_rest: Any) -> None:
    """Nobody at the port is ServerUnavailable; a connection that the server closed is made again by a retry."""
    gone = RestServer(lambda *_: status_of(1))
    gone.stop()
    with pytest.raises(ServerUnavailable):
        connect(gone.url).status("tiny", timeout=5)
    client = Client(
        "",
        "tiny",
        transport=connect(start_rest(serve({1: fakes.Model()})).url),
        retries=Retries(first_pause=0.01),
    )
    assert client.entities("wang")
    client._runner._transport._idle.queue[0].sock.shutdown(2)  # type: ignore[attr-defined]
    assert client.entities("wang")


def server_context(folder: Path, certificate: tuple[bytes, bytes], *, mutual: bool) -> ssl.SSLContext:
    """Return a server's side of TLS; `mutual` asks the client for a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (folder / "both.pem").write_bytes(b"\n".join(certificate))
    context.load_cert_chain(folder / "both.pem")
    if mutual:
        context.load_verify_locations(cadata=certificate[1].decode())
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.mark.parametrize("mutual", [pytest.param(False, id="tls"), pytest.param(True, id="mtls")])
def test_tls(fakes: Any, start_rest: Any, tmp_path: Path, certificate: tuple[bytes, bytes], mutual: bool) -> None:
    """Over HTTPS the client checks the server's certificate, and shows its own to a server that asks for one."""
    key, cert = certificate
    url = start_rest(serve({1: fakes.Model()}), server_context(tmp_path, certificate, mutual=mutual)).url
    with Client("", "tiny", transport=connect(url, tls=Tls(cert, *((key, cert) if mutual else ())))) as client:
        assert [entity.text for entity in client.entities("wang")] == ["wang"]
    refused = Tls(cert) if mutual else None  # no certificate of one's own, or an authority that nobody knows
    with pytest.raises(ServerUnavailable):
        connect(url, tls=refused).status("tiny", timeout=5)


@pytest.mark.parametrize("url", ["localhost:8501", "ftp://a", "http://"])
def test_urls(url: str) -> None:
    """What is no HTTP address is refused at once."""
    with pytest.raises(ValueError, match="expected http://host:port"):
        RestTransport(url)
