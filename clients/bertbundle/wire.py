"""TensorFlow Serving's gRPC: how a channel is opened, what is sent, and what its answers and errors become."""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc

from bertbundle import _wire_pb2 as wire
from bertbundle.errors import (
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    ServerError,
    ServerUnavailable,
    SignatureNotFound,
)
from bertbundle.primitives import Arrays, Prediction, VersionStatus
from bertbundle.tensors import TensorError, decode_tensors, encode_tensors

__all__ = [
    "METHODS",
    "Metadata",
    "Tls",
    "Token",
    "error_from_status",
    "open_channel",
    "predict_request",
    "read_prediction",
    "read_status",
    "status_request",
]

Token: TypeAlias = "str | Callable[[], str]"  # noqa: S105 - a type
"""A bearer token, or a function that returns the one of the moment."""
METHODS = {
    "predict": (
        "/tensorflow.serving.PredictionService/Predict",
        wire.PredictRequest.SerializeToString,
        wire.PredictResponse.FromString,
    ),
    "status": (
        "/tensorflow.serving.ModelService/GetModelStatus",
        wire.GetModelStatusRequest.SerializeToString,
        wire.GetModelStatusResponse.FromString,
    ),
}
"""Path, and what turns messages into bytes and back, of each method."""
_OPTIONS: tuple[tuple[str, int | str], ...] = (
    # No limit of our own on an answer's size: [32, 512] logits of a large vocabulary pass gRPC's default of 4 MB.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
    # A server may end a connection that pings more often than every 5 minutes (gRPC's default); with keepalive on,
    # Linux also gives up bytes that nobody acknowledges for the second time (TCP_USER_TIMEOUT, gRFC A18).
    ("grpc.keepalive_time_ms", 330_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # The defaults let a client wait up to 2 minutes before it looks for a restarted server again.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)


@dataclass(frozen=True, slots=True)
class Tls:
    """How to secure a connection.

    Attributes:
        root_certificates: PEM bytes of the authorities to trust; None for gRPC's own list.
        private_key, certificate_chain: PEM bytes that identify the client (mTLS); both or none.
        server_name: name to check the server's certificate against, if it is not the address.

    >>> Tls(server_name="models.example.com").server_name
    'models.example.com'
    """

    root_certificates: bytes | None = None
    private_key: bytes | None = None
    certificate_chain: bytes | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.private_key is None) != (self.certificate_chain is None):
            raise ValueError("private_key and certificate_chain go together")
        if self.root_certificates is not None:
            _check_certificates(self.root_certificates)


def _check_certificates(pem: bytes) -> None:
    """Refuse what gRPC would only log, and then report as a server that is not there."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem.decode("ascii"))
    except (ValueError, ssl.SSLError) as error:
        raise ValueError(f"root_certificates hold no PEM certificate: {error}") from error


class Metadata:
    """What is sent with each call, as gRPC takes it."""

    def __init__(self, token: Token | None, metadata: Mapping[str, str] | None) -> None:
        """Check names and values once."""
        self._token = token
        self._fixed = tuple((name.lower(), value) for name, value in (metadata or {}).items())
        for name, value in self._fixed:
            if not re.fullmatch(r"[0-9a-z_.-]+", name) or not re.fullmatch(r"[ -~]*", value):
                raise ValueError(f"metadata must be printable ASCII under names of a-z 0-9 _ . -, got {name!a}")

    def __call__(self) -> tuple[tuple[str, str], ...]:
        """Return names and values of the moment."""
        if self._token is None:
            return self._fixed
        token = self._token if isinstance(self._token, str) else self._token()
        return (*self._fixed, ("authorization", f"Bearer {token}"))


def open_channel(kind: Any, address: str, tls: Tls | None, compression: str) -> Any:
    """Open a channel of `kind`, ``grpc`` or ``grpc.aio``."""
    if compression not in _COMPRESSIONS:
        raise ValueError(f"compression must be one of {', '.join(_COMPRESSIONS)}, got {compression!r}")
    options, chosen = _OPTIONS, _COMPRESSIONS[compression]
    if tls is None:
        return kind.insecure_channel(_target(address), options=options, compression=chosen)
    name = tls.server_name or (address.split(",")[0].rpartition(":")[0] if "," in address else None)
    if name:
        options = (*options, ("grpc.ssl_target_name_override", name))
    credentials = grpc.ssl_channel_credentials(tls.root_certificates, tls.private_key, tls.certificate_chain)
    return kind.secure_channel(_target(address), credentials, options=options, compression=chosen)


_COMPRESSIONS = {
    "none": grpc.Compression.NoCompression,
    "gzip": grpc.Compression.Gzip,
    "deflate": grpc.Compression.Deflate,
}


def _target(address: str) -> str:
    """Return gRPC's name for an address, or for several: it takes a list of numeric ones only."""
    if "," not in address:
        return address
    found = [numeric for each in address.split(",") for numeric in _numeric(each.strip())]
    return "ipv4:" + ",".join(dict.fromkeys(found))


def _numeric(address: str) -> list[str]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"expected host:port, got {address!r}")
    try:
        found = socket.getaddrinfo(host, int(port), socket.AF_INET, socket.SOCK_STREAM)
    except OSError as error:
        raise ServerUnavailable(f"{host!r} is not a known name: {error.strerror}.", code="UNAVAILABLE") from error
    return [f"{place[0]!s}:{port}" for *_, place in found]


# ---- what is sent and answered


def predict_request(
    model: str, signature: str, inputs: Arrays, outputs: Sequence[str], version: int | None
) -> wire.PredictRequest:
    """Return the message of a Predict call."""
    spec = wire.ModelSpec(name=model, signature_name=signature)
    if version is not None:
        spec.version.value = version
    return wire.PredictRequest(model_spec=spec, inputs=encode_tensors(inputs), output_filter=outputs)


def read_prediction(response: wire.PredictResponse, address: str) -> Prediction:
    """Return what a server answered to it.

    Raises:
        ServerError: a tensor that does not hold together.
    """
    try:
        arrays = decode_tensors(response.outputs)
    except TensorError as error:
        raise ServerError(f"{address} sent a malformed tensor: {error}.", code="INTERNAL") from error
    return Prediction(arrays, response.model_spec.version.value)


def status_request(model: str) -> wire.GetModelStatusRequest:
    """Return the message of a GetModelStatus call."""
    return wire.GetModelStatusRequest(model_spec=wire.ModelSpec(name=model))


def read_status(response: wire.GetModelStatusResponse) -> list[VersionStatus]:
    """Return what a server answered to it."""
    return [_version_status(item) for item in response.model_version_status]


_CODE_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}
_STATE_NAMES = {number: name for name, number in wire.ModelVersionStatus.State.items()}


def _version_status(item: wire.ModelVersionStatus) -> VersionStatus:
    return VersionStatus(
        version=item.version,
        state=_STATE_NAMES.get(item.state, str(item.state)),
        error_code=_CODE_NAMES.get(item.status.error_code, "UNKNOWN"),
        error_message=item.status.error_message,
    )


@dataclass(frozen=True, slots=True)
class _Rule:
    """An error class for a status code; `marker` narrows it to details that contain it."""

    code: grpc.StatusCode
    error: type[ServerError]
    advice: str
    marker: str = ""


_Code = grpc.StatusCode
# First match wins. The texts are TensorFlow Serving's; codes without a row become a plain ServerError.
_RULES = (
    _Rule(_Code.UNAVAILABLE, Overloaded, "Retry later, or raise max_enqueued_batches.", "scheduling queue"),
    _Rule(_Code.UNAVAILABLE, ServerUnavailable, "Is a server running there, and is TLS the same on both sides?"),
    _Rule(_Code.DEADLINE_EXCEEDED, DeadlineExceeded, "Raise the timeout, or send fewer texts at once."),
    _Rule(_Code.RESOURCE_EXHAUSTED, Overloaded, "Retry later, or raise --grpc_max_threads of the server."),
    _Rule(_Code.NOT_FOUND, ModelNotFound, "Check the model name against --model_name or models.config."),
    _Rule(_Code.FAILED_PRECONDITION, SignatureNotFound, "Is the model a bundle?", "Serving signature key"),
    _Rule(_Code.FAILED_PRECONDITION, InvalidRequest, ""),
    _Rule(_Code.INVALID_ARGUMENT, InvalidRequest, ""),
    _Rule(_Code.OUT_OF_RANGE, InvalidRequest, ""),
    _Rule(_Code.UNIMPLEMENTED, ServerError, "Is it a TensorFlow Serving gRPC port (8500, not the REST port 8501)?"),
)


def error_from_status(code: grpc.StatusCode, details: str, address: str) -> ServerError:
    """Return the error for what a server answered: the one place where a gRPC status becomes an exception."""
    matching = (rule for rule in _RULES if rule.code is code and rule.marker in details)
    rule = next(matching, _Rule(code, ServerError, ""))
    message = f"{address} answered {code.name}: {details}"
    return rule.error(f"{message}. {rule.advice}" if rule.advice else message, code=code.name, details=details)
