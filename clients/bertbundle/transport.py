"""The way to a server: arrays in, arrays out. gRPC and protobuf stay behind it."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

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

__all__ = ["GrpcTransport", "Tls", "Transport", "error_from_status"]

_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
# No limit of our own on an answer's size: [32, 512] logits of a large vocabulary pass gRPC's default of 4 MB.
_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)


@dataclass(frozen=True, slots=True)
class Tls:
    """How to secure a connection.

    Attributes:
        root_certificates: PEM bytes of the authorities to trust; None for gRPC's own list.
        private_key, certificate_chain: PEM bytes that identify the client (mTLS); both or none.
        server_name: name to check the server's certificate against, if it is not the address.
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


class Transport(Protocol):
    """What a client needs of a connection. Raises `ServerError` for whatever goes wrong."""

    def predict(
        self,
        model: str,
        signature: str,
        inputs: Arrays,
        *,
        outputs: Sequence[str] = (),
        version: int | None = None,
        timeout: float,
    ) -> Prediction:
        """Run a signature; `outputs` empty means all, `version` None the newest, `timeout` is in seconds."""

    def status(self, model: str, *, timeout: float) -> list[VersionStatus]:
        """Return the state of each version of a model."""

    def close(self) -> None:
        """Close the connection."""


class GrpcTransport:
    """A connection to one TensorFlow Serving compatible server."""

    def __init__(self, address: str, *, tls: Tls | None = None) -> None:
        """Connect lazily to `address`, ``host:port`` or ``unix:path``; the first call opens the connection."""
        self.address = address
        self._channel = _channel(address, tls)
        self._predict = self._channel.unary_unary(
            _PREDICT, wire.PredictRequest.SerializeToString, wire.PredictResponse.FromString
        )
        self._status = self._channel.unary_unary(
            _STATUS, wire.GetModelStatusRequest.SerializeToString, wire.GetModelStatusResponse.FromString
        )

    def predict(
        self,
        model: str,
        signature: str,
        inputs: Arrays,
        *,
        outputs: Sequence[str] = (),
        version: int | None = None,
        timeout: float,
    ) -> Prediction:
        """See `Transport.predict`."""
        spec = wire.ModelSpec(name=model, signature_name=signature)
        if version is not None:
            spec.version.value = version
        request = wire.PredictRequest(model_spec=spec, inputs=encode_tensors(inputs), output_filter=outputs)
        response = self._call(self._predict, request, timeout)
        try:
            arrays = decode_tensors(response.outputs)
        except TensorError as error:
            raise ServerError(f"{self.address} sent a malformed tensor: {error}.", code="INTERNAL") from error
        return Prediction(arrays, response.model_spec.version.value)

    def status(self, model: str, *, timeout: float) -> list[VersionStatus]:
        """See `Transport.status`."""
        request = wire.GetModelStatusRequest(model_spec=wire.ModelSpec(name=model))
        return [_version_status(item) for item in self._call(self._status, request, timeout).model_version_status]

    def _call(self, method: Any, request: Any, timeout: float) -> Any:
        try:
            return method(request, timeout=timeout)
        except grpc.RpcError as error:
            raise error_from_status(error.code(), error.details() or "", self.address) from error

    def close(self) -> None:
        """See `Transport.close`."""
        self._channel.close()


def _channel(address: str, tls: Tls | None) -> Any:
    if tls is None:
        return grpc.insecure_channel(address, options=_OPTIONS)
    options = _OPTIONS
    if tls.server_name:
        options = (*options, ("grpc.ssl_target_name_override", tls.server_name))
    credentials = grpc.ssl_channel_credentials(tls.root_certificates, tls.private_key, tls.certificate_chain)
    return grpc.secure_channel(address, credentials, options=options)


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
