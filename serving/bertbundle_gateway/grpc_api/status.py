"""Fail a gRPC call with a status and google.rpc details."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from bertbundle_gateway.core.errors import RequestError
from bertbundle_gateway.grpc_api.methods import RPC_OF_METHOD

__all__ = ["abort", "failing_handler"]

_DOMAIN = "bertbundle"
_MAX_BYTES = 1024
"""The message is a header, of which there may be 8 KiB. It is in it up to five times: in percent-encoding, a byte is
three characters; and in the details, once or twice."""


async def abort(context: Any, error: RequestError) -> None:
    """End a call with the status of an error; raises grpc's AbortError.

    The details are a google.rpc.ErrorInfo, and a google.rpc.BadRequest if a field is wrong.
    """
    code = grpc.StatusCode[error.code]
    text = error.text(lambda method: f"the method {RPC_OF_METHOD[method]}")
    message = text.encode()[:_MAX_BYTES].decode(errors="ignore")
    status = status_pb2.Status(code=code.value[0], message=message)
    status.details.add().Pack(
        error_details_pb2.ErrorInfo(reason=error.reason, domain=_DOMAIN, metadata=dict(error.metadata))
    )
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=message)
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    # The key is that of grpcio-status, and of the status packages of other languages.
    await context.abort(code, message, (("grpc-status-details-bin", status.SerializeToString()),))


def failing_handler(error: RequestError) -> Any:
    """Return a handler for any method that fails every call with an error, before it reads a request."""

    async def fail(requests: object, context: Any) -> None:
        del requests
        await abort(context, error)

    handler: Callable[..., Any] = grpc.stream_stream_rpc_method_handler
    return handler(fail)
