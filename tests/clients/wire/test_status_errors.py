"""Status codes of gRPC become exceptions."""

from __future__ import annotations

import grpc
import pytest

from bertbundle import (
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    ServerError,
    ServerUnavailable,
    SignatureNotFound,
)
from bertbundle.wire.status_errors import error_from_status

CODES = grpc.StatusCode
ERRORS: dict[grpc.StatusCode, type[ServerError]] = {
    CODES.OK: ServerError,
    CODES.CANCELLED: ServerUnavailable,
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
    """The table above has every status code."""
    assert set(ERRORS) == set(grpc.StatusCode)


@pytest.mark.parametrize("code", [pytest.param(code, id=code.name) for code in grpc.StatusCode])
def test_status_codes(code: grpc.StatusCode) -> None:
    """Each status code becomes the exception of its class, with the address, the code and the server's details."""
    error = error_from_status(code, "these details", "host:8500")
    assert type(error) is ERRORS[code]
    assert str(error).startswith(f"call to host:8500 failed with {code.name}: these details")
    assert (error.code, error.details) == (code.name, "these details")


# Source of the texts: TensorFlow Serving's own; see docs/protocol.md and tests/serving/grpc_api/test_servicer.py.
@pytest.mark.parametrize(
    ("code", "details", "kind"),
    [
        pytest.param(CODES.CANCELLED, "cancelled by the client", ServerError, id="own cancellation"),
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
def test_details_distinguish_causes(code: grpc.StatusCode, details: str, kind: type[ServerError]) -> None:
    """If one code has several causes, the server's details decide on the exception."""
    assert type(error_from_status(code, details, "host:8500")) is kind


def test_http_port() -> None:
    """For a port that speaks HTTP/1, such as the REST port, the error says so."""
    # Source of the text: grpcio 1.85 connecting to an HTTP/1 port.
    details = "Failed parsing HTTP/2 (Expected SETTINGS frame as the first frame) (Trying to connect an http1.x server)"
    error = error_from_status(CODES.UNAVAILABLE, details, "host:8501")
    assert "The port speaks HTTP/1: use the gRPC port (8500)" in str(error)


def test_ipv6_addresses_are_readable() -> None:
    """IPv6 addresses in the details are shown with brackets, which gRPC percent-encodes."""
    details = "last error: UNKNOWN: ipv6:%5B::1%5D:9: Connection refused; 5%5B stays"
    error = error_from_status(grpc.StatusCode.UNAVAILABLE, details, "[::1]:9")
    assert "last error: UNKNOWN: ipv6:[::1]:9: Connection refused; 5%5B stays" in str(error)


@pytest.mark.parametrize("name", ["grpc_proxy", "https_proxy", "http_proxy"])
def test_proxy(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """If gRPC connects through a proxy, the error names the variable and the proxy, without its password."""
    monkeypatch.setenv(name, "http://user:secret@proxy:3128")
    error = error_from_status(grpc.StatusCode.UNAVAILABLE, "Connection refused", "dns:///models:8500")
    assert str(error).endswith(
        f"gRPC connects through the proxy http://proxy:3128 of the environment variable {name}: if the server is not "
        "behind it, add models to no_proxy."
    )


@pytest.mark.parametrize("exceptions", ["models", "localhost, models", ".example.com,models"])
def test_no_proxy(monkeypatch: pytest.MonkeyPatch, exceptions: str) -> None:
    """A host in no_proxy is reached without the proxy, which is not mentioned."""
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", exceptions)
    error = error_from_status(grpc.StatusCode.UNAVAILABLE, "Connection refused", "models:8500")
    assert "proxy" not in str(error)


def test_port_without_grpc() -> None:
    """A port whose answer is not HTTP/2 is named as such: newer gRPC does not recognize HTTP/1."""
    details = (
        "last error: UNAVAILABLE: Failed parsing HTTP/2 (Expected SETTINGS frame as the first frame, got frame type 79)"
    )
    error = error_from_status(grpc.StatusCode.UNAVAILABLE, details, "localhost:8501")
    assert str(error).endswith("The port does not speak gRPC: use the gRPC port (8500), not the REST port.")
