"""Convert gRPC status codes to exceptions."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import grpc

from bertbundle.errors import (
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    ServerError,
    ServerUnavailable,
    SignatureNotFound,
)

__all__ = ["error_from_status"]


@dataclass(frozen=True, slots=True)
class _Rule:
    """The error class and the advice for a status code, restricted to details that contain `marker`."""

    code: grpc.StatusCode
    error: type[ServerError]
    advice: str
    marker: str = ""


_Code = grpc.StatusCode
# The first matching rule applies; a status without a rule becomes a plain ServerError.
# Source of the markers: the error messages of TensorFlow Serving and gRPC.
_RULES = (
    _Rule(_Code.UNAVAILABLE, Overloaded, "Retry later, or raise max_enqueued_batches.", "scheduling queue"),
    _Rule(
        _Code.UNAVAILABLE,
        ServerUnavailable,
        "Pass the authority that signed the server's certificate (--ca, root_certificates), or renew it if it expired.",
        "CERTIFICATE_VERIFY_FAILED",
    ),
    _Rule(
        _Code.UNAVAILABLE,
        ServerUnavailable,
        "The server's certificate is for another name: connect with that name, or pass Tls(server_name=...).",
        "Hostname Verification Check failed",
    ),
    _Rule(
        _Code.UNAVAILABLE,
        ServerUnavailable,
        "Is a server running there, do both sides agree on TLS, does the server require a client certificate (--cert)?",
        "Socket closed",
    ),
    _Rule(
        _Code.UNAVAILABLE,
        ServerUnavailable,
        "The port speaks HTTP/1: use the gRPC port (8500), not the REST port.",
        "http1.x",
    ),
    _Rule(
        _Code.UNAVAILABLE,
        ServerUnavailable,
        "The port does not speak gRPC: use the gRPC port (8500), not the REST port.",
        "Failed parsing HTTP/2",
    ),
    _Rule(_Code.UNAVAILABLE, ServerUnavailable, "Is a server running there, and do both sides agree on TLS?"),
    _Rule(_Code.CANCELLED, ServerError, "", "cancelled by the client"),
    # The client did not cancel it: a server that stops cancels calls that it has not answered.
    _Rule(_Code.CANCELLED, ServerUnavailable, "Is the server shutting down?"),
    _Rule(_Code.DEADLINE_EXCEEDED, DeadlineExceeded, "Raise the timeout, or send fewer texts at once."),
    _Rule(_Code.RESOURCE_EXHAUSTED, Overloaded, "Retry later, or raise --grpc_max_threads of the server."),
    _Rule(
        _Code.NOT_FOUND,
        ModelNotFound,
        "Check the model name against --model_name or models.config, and the version with `bertbundle status`.",
        "Specific(",
    ),
    _Rule(_Code.NOT_FOUND, ModelNotFound, "Check the model name against --model_name or models.config."),
    _Rule(_Code.FAILED_PRECONDITION, SignatureNotFound, "Is the model a bundle?", "Serving signature key"),
    _Rule(_Code.FAILED_PRECONDITION, InvalidRequest, ""),
    _Rule(_Code.INVALID_ARGUMENT, InvalidRequest, ""),
    _Rule(_Code.OUT_OF_RANGE, InvalidRequest, ""),
    _Rule(_Code.UNIMPLEMENTED, ServerError, "Is this a TensorFlow Serving gRPC port (8500, not the REST port 8501)?"),
)


# The variables from which gRPC takes a proxy, in its order, and those with the hosts that need none.
# Source: gRPC's src/core/handshaker/http_connect/http_proxy_mapper.cc.
_PROXIES, _NO_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy"), ("no_grpc_proxy", "no_proxy")
_IPV6 = re.compile(r"ipv6:%5B([0-9a-f:.]+)%5D")


def error_from_status(code: grpc.StatusCode, details: str, address: str) -> ServerError:
    """Return the exception for a gRPC status, with the address, the server's details and the next step."""
    matching = (rule for rule in _RULES if rule.code is code and rule.marker in details)
    rule = next(matching, _Rule(code, ServerError, ""))
    # gRPC percent-encodes the brackets of an IPv6 address.
    text = _IPV6.sub(r"ipv6:[\1]", details)
    message = f"call to {address} failed with {code.name}: {text}"
    is_unreachable = rule.error is ServerUnavailable and not rule.marker
    advice = (is_unreachable and _proxy_advice(address)) or rule.advice
    return rule.error(f"{message}. {advice}" if advice else message, code=code.name, details=details)


def _proxy_advice(address: str) -> str | None:
    """Return what to do if gRPC connects through a proxy; None if it does not."""
    proxy = next((name for name in _PROXIES if os.environ.get(name)), None)
    exceptions = next((os.environ[name] for name in _NO_PROXIES if os.environ.get(name)), "")
    host = re.sub(r"^\w+:/+", "", address).rpartition(":")[0].strip("[]")
    names = [name.strip().lstrip(".") for name in exceptions.split(",") if name.strip()]
    if proxy is None or any(host.endswith(name) for name in names):
        return None
    value = re.sub(r"//[^@/]*@", "//", os.environ[proxy])  # without a password
    return (
        f"gRPC connects through the proxy {value} of the environment variable {proxy}: if the server is not behind it, "
        f"add {host} to no_proxy."
    )
