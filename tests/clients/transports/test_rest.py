"""The REST transport against an HTTP server in this process that responds as TensorFlow Serving does."""

from __future__ import annotations

import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle import (
    DeadlineExceeded,
    InputError,
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
from fakes import FakeTransport, Model, connect, make_manifest

Respond = Callable[[str, Any], "tuple[int, Any]"]
"""Takes the path and the JSON of a request; returns the status and the JSON, or bytes, of the response."""
StartRest = Callable[..., "RestServer"]


class RestServer:
    """An HTTP server.

    Attributes:
        url: its URL.
        requests: the path and the headers of each request.
    """

    def __init__(self, respond: Respond, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        requests = self.requests

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                requests.append((self.path, dict(self.headers)))
                size = int(self.headers.get("content-length", 0))
                status, value = respond(self.path, json.loads(self.rfile.read(size)) if size else None)
                data = value if isinstance(value, bytes) else json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = handle_any  # noqa: N815 - names of the standard library

            def log_message(self, *_: Any) -> None:
                """Write no log."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign] # some tests close connections
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
            self.url = f"https://localhost:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def start_rest() -> Iterator[StartRest]:
    """Return a function that starts a `RestServer`; it stops after the test."""
    servers: list[RestServer] = []

    def start(respond: Respond, tls: ssl.SSLContext | None = None) -> RestServer:
        servers.append(RestServer(respond, tls))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def status_response(*versions: int) -> tuple[int, Any]:
    """Return the response to GET /v1/models/M; source: TensorFlow Serving's REST documentation."""
    status = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    return 200, {"model_version_status": [{"version": str(version), **status} for version in versions]}


def serve(models: dict[int, Model]) -> Respond:
    """Return the REST API of a model named ``tiny`` with these versions."""

    def respond(path: str, body: Any) -> tuple[int, Any]:
        if body is None:
            return (
                status_response(*models)
                if path == "/v1/models/tiny"
                else (404, {"error": "Could not find any versions"})
            )
        match = re.fullmatch(r"/v1/models/tiny/versions/(\d+):predict", path)
        if not match or int(match[1]) not in models:
            return 404, {"error": "Servable not found for request: Specific(tiny)"}
        inputs = {name: np.array(value, np.int32) for name, value in body["inputs"].items()}
        model = models[int(match[1])]
        names = ("manifest", "tokenizer") if body["signature_name"] == "bundle_info" else ("label_ids", "label_scores")
        outputs = model.run(body["signature_name"], inputs, names)
        return 200, {"outputs": {name: to_json(value) for name, value in outputs.items()}}

    return respond


def to_json(value: Any) -> Any:
    """Convert an array to lists."""
    return [text.decode() for text in value] if value.dtype == object else value.tolist()


OpenTransport = Callable[..., RestTransport]


@pytest.fixture
def open_transport() -> Iterator[OpenTransport]:
    """Return a function that creates a transport; it is closed after the test."""
    transports: list[RestTransport] = []

    def open_transport(url: str, **options: Any) -> RestTransport:
        transports.append(RestTransport(url, **options))
        return transports[-1]

    yield open_transport
    for transport in transports:
        transport.close()


def test_client_over_rest(start_rest: StartRest, open_transport: OpenTransport) -> None:
    """A client over REST gives the same results and status as over another transport."""
    server = start_rest(serve({1: Model()}))
    texts = ["Wang lives in Berlin", "王建国 " * 9, "a"]
    with connect(open_transport(server.url)) as client:
        results = client.entities(texts)
        assert client.status()[0].state == "AVAILABLE"
    expected = connect(FakeTransport()).entities(texts)
    assert [[(e.label, e.start, e.end) for e in entities] for entities in results] == [
        [(e.label, e.start, e.end) for e in entities] for entities in expected
    ]


def test_another_version(start_rest: StartRest, open_transport: OpenTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new version is used although REST responses do not contain their version."""
    monkeypatch.setattr("bertbundle.transports.rest._VERSION_SECONDS", 0.0)
    models = {1: Model()}
    client = connect(open_transport(start_rest(serve(models)).url))
    assert client.entities("wang")[0].label == "PER"
    models[2] = Model(make_manifest(labels=("O", "B-ORG", "I-ORG", "B-GPE", "I-GPE")), version=2)
    assert client.entities("wang")[0].label == "ORG"


def test_removed_version(start_rest: StartRest, open_transport: OpenTransport) -> None:
    """If the cached version was removed, the request is sent to the newest version."""
    models = {1: Model()}
    client = connect(open_transport(start_rest(serve(models)).url))
    assert client.entities("wang")
    models[2] = models.pop(1)
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
def test_errors(
    start_rest: StartRest, open_transport: OpenTransport, status: int, text: str, kind: type[ServerError]
) -> None:
    """Each HTTP status raises the exception of the gRPC status for it, with the server's text."""
    transport = open_transport(start_rest(lambda *_: (status, {"error": text})).url)
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
def test_malformed_response(start_rest: StartRest, open_transport: OpenTransport, value: Any, message: str) -> None:
    """A response in another format than the API's raises ServerError."""
    transport = open_transport(start_rest(lambda *_: (200, value)).url)
    with pytest.raises(ServerError, match=message):
        transport.predict(PredictCall("tiny", "s", {}, outputs=("a",), version=1), timeout=5)


def test_single_output_has_no_name(start_rest: StartRest, open_transport: OpenTransport) -> None:
    """The only output of a signature, which TensorFlow Serving sends without its name, gets the requested name."""
    transport = open_transport(start_rest(lambda *_: (200, {"outputs": [[0.5], [1.0]]})).url)
    outputs = transport.predict(PredictCall("tiny", "s", {}, outputs=("value",), version=1), timeout=5).outputs
    assert outputs["value"].tolist() == [[0.5], [1.0]]
    assert outputs["value"].dtype == np.float32


def test_token_and_metadata(start_rest: StartRest, open_transport: OpenTransport) -> None:
    """The current token and the metadata are headers of each request, and the path of the URL comes first."""
    server = start_rest(lambda *_: status_response(1))
    tokens = iter(["a", "b"])
    transport = open_transport(server.url + "/base/", token=lambda: next(tokens), metadata={"X-Team": "search"})
    for _ in range(2):
        transport.status("tiny", timeout=5)
    assert [path for path, _ in server.requests] == ["/base/v1/models/tiny"] * 2
    assert [headers["authorization"] for _, headers in server.requests] == ["Bearer a", "Bearer b"]
    assert server.requests[0][1]["x-team"] == "search"


def test_deadline(start_rest: StartRest, open_transport: OpenTransport) -> None:
    """If a server does not respond within the timeout, the call raises DeadlineExceeded at that time."""
    release, released = threading.Event(), list[bool]()

    def hang(*_: Any) -> Any:
        released.append(release.wait(20))
        return status_response(1)

    with pytest.raises(DeadlineExceeded):
        open_transport(start_rest(hang).url).status("tiny", timeout=0.2)
    assert released == []
    release.set()


def test_no_server(open_transport: OpenTransport) -> None:
    """If no server listens at the port, a call raises ServerUnavailable."""
    stopped = RestServer(lambda *_: status_response(1))
    stopped.stop()
    with pytest.raises(ServerUnavailable):
        open_transport(stopped.url).status("tiny", timeout=5)


def test_reconnect(start_rest: StartRest, open_transport: OpenTransport) -> None:
    """After a connection breaks, a retry opens a new one."""
    transport = open_transport(start_rest(serve({1: Model()})).url)
    client = connect(transport, retries=Retries(first_pause=0.01))
    assert client.entities("wang")
    transport._idle.queue[0].sock.shutdown(2)
    assert client.entities("wang")


def server_context(folder: Path, certificate: tuple[bytes, bytes], *, mutual: bool) -> ssl.SSLContext:
    """Return the TLS settings of a server; with `mutual` it requires a client certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (folder / "both.pem").write_bytes(b"\n".join(certificate))
    context.load_cert_chain(folder / "both.pem")
    if mutual:
        context.load_verify_locations(cadata=certificate[1].decode())
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.mark.parametrize("mutual", [pytest.param(False, id="tls"), pytest.param(True, id="mtls")])
def test_tls(
    start_rest: StartRest,
    open_transport: OpenTransport,
    tmp_path: Path,
    certificate: tuple[bytes, bytes],
    mutual: bool,
) -> None:
    """Over HTTPS, the client verifies the server's certificate, and sends its own if the server requires one."""
    key, cert = certificate
    url = start_rest(serve({1: Model()}), server_context(tmp_path, certificate, mutual=mutual)).url
    with connect(open_transport(url, tls=Tls(cert, *((key, cert) if mutual else ())))) as client:
        assert [entity.text for entity in client.entities("wang")] == ["wang"]
    wrong_tls = Tls(cert) if mutual else None  # no client certificate, or an unknown authority
    with pytest.raises(ServerUnavailable):
        open_transport(url, tls=wrong_tls).status("tiny", timeout=5)


@pytest.mark.parametrize("url", ["localhost:8501", "ftp://a", "http://"])
def test_invalid_urls(url: str) -> None:
    """An invalid URL raises ValueError."""
    with pytest.raises(ValueError, match="expected http://host:port"):
        RestTransport(url)


def test_grpc_port() -> None:
    """A port that speaks HTTP/2, as the gRPC port does, is named as such."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(bytes.fromhex("000006040000000000000500004000"))  # SETTINGS

        thread = threading.Thread(target=answer)
        thread.start()
        transport = RestTransport(f"http://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(ServerUnavailable, match=r"use the REST port \(8501\), not the gRPC port"):
            transport.status("m", timeout=5)
        thread.join()


def test_labels_are_refused() -> None:
    """A call for a version label is refused: the response would not say which version answered."""
    with pytest.raises(InputError, match="version label 'stable' needs gRPC"):
        RestTransport("http://localhost:1").predict(PredictCall("tiny", "s", {}, version="stable"), timeout=1)
