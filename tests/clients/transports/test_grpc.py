"""The gRPC transport, against servers in this process."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from bertbundle import (
    Client,
    DeadlineExceeded,
    GrpcTransport,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    PredictCall,
    ServerError,
    ServerUnavailable,
    SignatureNotFound,
    Tls,
    VersionStatus,
)
from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.status_errors import error_from_status
from bertbundle.wire.tensors import encode_tensor

if TYPE_CHECKING:
    from fakes import FakeServer

    Fakes = Any
    Start = Callable[..., FakeServer]

CODES = grpc.StatusCode
ERRORS: dict[grpc.StatusCode, type[ServerError]] = {
    CODES.OK: ServerError,
    CODES.CANCELLED: ServerError,
    CODES.UNKNOWN: ServerError,
    CODES.INVALID_ARGUMENT: InvalidRequest,
    CODES.DEADLINE_EXCEEDED: DeadlineExceeded,
    CODES.NOT_FOUND: ModelNotFound,
    CODES.ALREADY_EXISTS: ServerError,
    CODES.PERMISSION_DENIED: ServerError,
    CODES.RESOURCE_EXHAUSTED: Overloaded,
    CODES.FAILED_PRECONDITION: InvalidRequest,
    CODES.ABORTED: ServerError,
    CODES.OUT_OF_RANGE: InvalidRequest,
    CODES.UNIMPLEMENTED: ServerError,
    CODES.INTERNAL: ServerError,
    CODES.UNAVAILABLE: ServerUnavailable,
    CODES.DATA_LOSS: ServerError,
    CODES.UNAUTHENTICATED: ServerError,
}


def test_every_status_code_has_a_case() -> None:
    """No status code is forgotten by the table above."""
    assert set(ERRORS) == set(grpc.StatusCode)


@pytest.mark.parametrize("code", [pytest.param(code, id=code.name) for code in grpc.StatusCode])
def test_status_codes(code: grpc.StatusCode) -> None:
    """Each status code becomes its class, with the address, the code and the server's own text."""
    error = error_from_status(code, "these details", "host:8500")
    assert type(error) is ERRORS[code]
    assert str(error).startswith(f"host:8500 answered {code.name}: these details")
    assert (error.code, error.details) == (code.name, "these details")


# Source of the texts: TensorFlow Serving's own; see docs/protocol.md and tests/serving/grpc_api/test_servicer.py.
@pytest.mark.parametrize(
    ("code", "details", "kind"),
    [
        pytest.param(
            CODES.UNAVAILABLE,
            "The batch scheduling queue to which this task was submitted is full; currently 4 batches enqueued and "
            "max_enqueued_batches is 4",
            Overloaded,
            id="queue-full",
        ),
        pytest.param(
            CODES.FAILED_PRECONDITION,
            'Serving signature key "nope" not found.',
            SignatureNotFound,
            id="signature",
        ),
        pytest.param(
            CODES.FAILED_PRECONDITION,
            "Tensors with name 'N' from different tasks have different shapes and padding is turned off.",
            InvalidRequest,
            id="mixed-lengths",
        ),
        pytest.param(
            CODES.UNAVAILABLE, "DNS resolution failed for queue-1:8500", ServerUnavailable, id="host-named-queue"
        ),
        pytest.param(CODES.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted", Overloaded, id="threads"),
    ],
)
def test_the_text_decides(code: grpc.StatusCode, details: str, kind: type[ServerError]) -> None:
    """Where one code has several causes the server's text tells them apart."""
    assert type(error_from_status(code, details, "host:8500")) is kind


def test_an_http_port() -> None:
    """A port that speaks HTTP/1, as the REST one does, is called that; source of the text: grpcio 1.85 against one."""
    details = "Failed parsing HTTP/2 (Expected SETTINGS frame as the first frame) (Trying to connect an http1.x server)"
    error = error_from_status(CODES.UNAVAILABLE, details, "host:8501")
    assert "It speaks HTTP/1: use the gRPC port (8500)" in str(error)


@pytest.mark.parametrize("code", [pytest.param(code, id=code.name) for code in grpc.StatusCode if code.value[0]])
def test_status_codes_over_the_wire(start: Start, code: grpc.StatusCode) -> None:
    """A server's status arrives as its class, from the gRPC error that caused it."""

    def refuse(data: bytes, context: grpc.ServicerContext) -> bytes:
        del data
        context.abort(code, "these details")
        raise AssertionError

    server = start(refuse, refuse)
    transport = GrpcTransport(server.address)
    for call in (
        lambda: transport.predict(PredictCall("tiny", "s", {}), timeout=9),
        lambda: transport.status("tiny", timeout=9),
    ):
        with pytest.raises(ServerError) as caught:
            call()
        assert type(caught.value) is ERRORS[code]
        assert f"{server.address} answered {code.name}: these details" in str(caught.value)
        assert isinstance(caught.value.__cause__, grpc.RpcError)
    transport.close()


# ---- what is sent and what comes back


def test_predict(start: Start) -> None:
    """A request has model, signature, output filter and tensors; the answer's arrays and version come back."""
    seen: list[wire.PredictRequest] = []

    def answer(data: bytes, context: grpc.ServicerContext) -> bytes:
        del context
        seen.append(wire.PredictRequest.FromString(data))
        response = wire.PredictResponse(outputs={"y": encode_tensor(np.array([[0.5]], np.float32), as_content=False)})
        response.model_spec.version.value = 2**40
        return response.SerializeToString()

    transport = GrpcTransport(start(answer).address)
    prediction = transport.predict(
        PredictCall("tiny", "length_4", {"x": np.array([[1, 2]], np.int32)}, outputs=("y",)), timeout=9
    )
    assert prediction.version == 2**40
    assert prediction.outputs["y"].tolist() == [[0.5]]
    (request,) = seen
    assert (request.model_spec.name, request.model_spec.signature_name) == ("tiny", "length_4")
    assert not request.model_spec.HasField("version")
    assert request.output_filter == ["y"]
    assert request.inputs["x"] == encode_tensor(np.array([[1, 2]], np.int32))
    transport.predict(PredictCall("tiny", "length_4", {}, version=0), timeout=9)
    assert seen[-1].model_spec.HasField("version")
    assert seen[-1].model_spec.version.value == 0
    transport.close()


def test_status(start: Start, fakes: Fakes) -> None:
    """Each version's state and error come back by name."""
    transport = GrpcTransport(start(fakes.answers_of(fakes.Model()), fakes.available).address)
    assert transport.status("tiny", timeout=9) == [
        VersionStatus(2, "LOADING", "OK", ""),
        VersionStatus(1, "AVAILABLE", "OK", ""),
        VersionStatus(0, "END", "INVALID_ARGUMENT", "no model.onnx"),
    ]
    transport.close()


def test_a_state_of_the_future(start: Start) -> None:
    """A state that a newer server may send is shown by its number."""
    state = wire.GetModelStatusResponse(model_version_status=[wire.ModelVersionStatus(version=1)])
    state.model_version_status[0].state = 60  # type: ignore[assignment]
    state.model_version_status[0].status.error_code = 99
    transport = GrpcTransport(start(lambda *_: b"", lambda *_: state.SerializeToString()).address)
    assert transport.status("tiny", timeout=9) == [VersionStatus(1, "60", "UNKNOWN", "")]
    transport.close()


@pytest.mark.parametrize("as_content", [pytest.param(True, id="content"), pytest.param(False, id="values")])
def test_client_over_grpc(start: Start, fakes: Fakes, as_content: bool) -> None:
    """The client gets its answers over a real connection, in both encodings."""
    server = start(fakes.answers_of(fakes.Model(), as_content=as_content))
    with Client(server.address, "tiny") as client:
        assert [(entity.label, entity.text) for entity in client.entities("Wang lives in 北京")] == [
            ("PER", "Wang"),
            ("LOC", "北京"),
        ]


def test_answers_of_more_than_4_mb(start: Start) -> None:
    """GRPC's own limit of 4 MB does not apply to answers."""
    tensor = encode_tensor(np.ones(2**21, np.float32))
    response = wire.PredictResponse(outputs={"y": tensor}).SerializeToString()
    transport = GrpcTransport(start(lambda *_: response).address)
    assert transport.predict(PredictCall("tiny", "s", {}), timeout=30).outputs["y"].nbytes == 2**23
    transport.close()


@pytest.mark.parametrize(
    "tensor",
    [
        pytest.param(wire.Tensor(dtype=99), id="dtype"),
        pytest.param(wire.Tensor(dtype=1, float_val=[b"12345"]), id="float-of-5-bytes"),
        pytest.param(wire.Tensor(dtype=3, int_val=[b"\x80"]), id="cut-varint"),
    ],
)
def test_malformed_tensor(start: Start, tensor: wire.Tensor) -> None:
    """A malformed tensor in an answer is a ServerError that names the address and what is wrong."""
    response = wire.PredictResponse(outputs={"y": tensor}).SerializeToString()
    server = start(lambda *_: response)
    transport = GrpcTransport(server.address)
    with pytest.raises(ServerError, match=f"{server.address} sent a malformed tensor: ") as caught:
        transport.predict(PredictCall("tiny", "s", {}), timeout=9)
    assert caught.value.code == "INTERNAL"
    transport.close()


def test_malformed_response(start: Start) -> None:
    """An answer that is no message at all is a ServerError too."""
    transport = GrpcTransport(start(lambda *_: b"\xff\xff").address)
    with pytest.raises(ServerError, match="answered INTERNAL: "):
        transport.predict(PredictCall("tiny", "s", {}), timeout=9)
    transport.close()


# ---- nobody, or nobody in time


def test_nobody_there() -> None:
    """A port where nobody listens is ServerUnavailable, before the timeout, with the question to ask oneself."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening: refuses connections, and no one else gets it
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        begin = time.monotonic()
        with pytest.raises(ServerUnavailable, match="Is a server running there") as caught, Client(address, "m") as c:
            c.status()
        assert time.monotonic() - begin < 10
    assert address in str(caught.value)
    assert caught.value.code == "UNAVAILABLE"


def test_deadline(start: Start, fakes: Fakes) -> None:
    """A server that takes too long is DeadlineExceeded, at the deadline."""
    release = threading.Event()

    def hang(data: bytes, context: grpc.ServicerContext) -> bytes:
        release.wait(20)
        answer: bytes = fakes.answers_of(fakes.Model())(data, context)
        return answer

    server = start(hang)
    begin = time.monotonic()
    with (
        pytest.raises(DeadlineExceeded, match="Raise the timeout") as caught,
        Client(server.address, "tiny", timeout=0.2) as client,
    ):
        client.entities("wang")
    release.set()
    assert 0.2 <= time.monotonic() - begin < 10
    assert caught.value.code == "DEADLINE_EXCEEDED"


def test_wrong_port(start: Start) -> None:
    """A gRPC server of something else is an error with a guess at the cause."""
    with (
        pytest.raises(ServerError, match=r"UNIMPLEMENTED.*8500, not the REST port 8501") as caught,
        Client(start(lambda *_: b"").address, "tiny") as client,
    ):
        client.status()
    assert caught.value.code == "UNIMPLEMENTED"


# ---- TLS


def test_tls(start: Start, fakes: Fakes, certificate: tuple[bytes, bytes]) -> None:
    """With the authority that signed the server's certificate the connection is made, checked by the name given."""
    server = start(fakes.answers_of(fakes.Model()), credentials=grpc.ssl_server_credentials([certificate]))
    with Client(server.address, "tiny", tls=Tls(certificate[1], server_name="localhost")) as client:
        assert [entity.text for entity in client.entities("wang")] == ["wang"]


def test_mutual_tls(start: Start, fakes: Fakes, certificate: tuple[bytes, bytes]) -> None:
    """A server that asks for the client's certificate gets it, and refuses a client without one."""
    credentials = grpc.ssl_server_credentials([certificate], certificate[1], require_client_auth=True)
    server = start(fakes.answers_of(fakes.Model()), credentials=credentials)
    key, cert = certificate
    with Client(server.address, "tiny", tls=Tls(cert, key, cert, server_name="localhost")) as client:
        assert client.manifest().name == "tiny"
    with (
        pytest.raises(ServerUnavailable),
        Client(server.address, "tiny", tls=Tls(cert, server_name="localhost"), timeout=5) as client,
    ):
        client.manifest()


@pytest.mark.parametrize("server_name", [pytest.param(None, id="address"), pytest.param("elsewhere", id="name")])
def test_tls_with_another_name(
    start: Start, fakes: Fakes, certificate: tuple[bytes, bytes], server_name: str | None
) -> None:
    """A certificate for another name is not accepted, and the error says so."""
    server = start(fakes.answers_of(fakes.Model()), credentials=grpc.ssl_server_credentials([certificate]))
    with (
        pytest.raises(ServerUnavailable, match="certificate is for another name"),
        Client(server.address, "tiny", tls=Tls(certificate[1], server_name=server_name), timeout=5) as client,
    ):
        client.manifest()


def test_plain_text_to_tls(start: Start, fakes: Fakes, certificate: tuple[bytes, bytes]) -> None:
    """Plain text to a TLS port is an error with a guess at the cause, not a hang."""
    server = start(fakes.answers_of(fakes.Model()), credentials=grpc.ssl_server_credentials([certificate]))
    with (
        pytest.raises(ServerUnavailable, match="do both sides agree on TLS"),
        Client(server.address, "tiny", timeout=5) as client,
    ):
        client.manifest()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param({"private_key": b"x"}, "private_key and certificate_chain go together", id="key-alone"),
        pytest.param({"certificate_chain": b"x"}, "private_key and certificate_chain go together", id="chain-alone"),
        pytest.param({"root_certificates": b""}, "root_certificates contain no PEM certificate", id="empty"),
        pytest.param({"root_certificates": b"no PEM"}, "root_certificates contain no PEM certificate", id="text"),
        pytest.param({"root_certificates": b"\xff\x00"}, "root_certificates contain no PEM certificate", id="binary"),
        pytest.param(
            {"root_certificates": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"},
            "root_certificates contain no PEM certificate",
            id="not-a-certificate",
        ),
    ],
)
def test_invalid_tls(fields: dict[str, bytes], message: str) -> None:
    """Credentials that cannot work are refused when given, not when the connection fails."""
    with pytest.raises(ValueError, match=message):
        Tls(**fields)  # type: ignore[arg-type]


def test_addresses_are_readable() -> None:
    """An IPv6 address that gRPC writes as in a URL is told as people write it."""
    details = "last error: UNKNOWN: ipv6:%5B::1%5D:9: Connection refused; 5%5B stays"
    error = error_from_status(grpc.StatusCode.UNAVAILABLE, details, "[::1]:9")
    assert "last error: UNKNOWN: ipv6:[::1]:9: Connection refused; 5%5B stays" in str(error)


def test_certificate_without_its_key(certificate: tuple[bytes, bytes]) -> None:
    """A client's certificates and a key that is not theirs are refused when given."""
    key, chain = certificate
    with pytest.raises(ValueError, match="the private key is not a PEM key"):
        Tls(private_key=chain, certificate_chain=chain)
    with pytest.raises(ValueError, match="the certificates contain no PEM certificate"):
        Tls(private_key=key, certificate_chain=key)
