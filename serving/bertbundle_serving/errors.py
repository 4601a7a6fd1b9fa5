"""Exceptions of the server: `ServeError` if it cannot start or load, `RequestError` if a request fails."""

from __future__ import annotations

from bertbundle.errors import BertBundleError

__all__ = ["CODES", "INTERNAL_TEXT", "RequestError", "ServeError", "deadline_exceeded", "invalid_argument"]

# Names of the gRPC status codes by number (https://grpc.github.io/grpc/core/md_doc_statuscodes.html). TensorFlow uses
# the same numbers (tensorflow/core/protobuf/error_codes.proto).
CODES: tuple[str, ...] = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)

INTERNAL_TEXT = "Internal error. The server's log has the details."
"""The message of every INTERNAL error: callers must not see paths and stack traces of the server."""


class ServeError(BertBundleError):
    """The server cannot start or cannot load a model, for example because a port is in use or a file is malformed.

    >>> issubclass(ServeError, BertBundleError)
    True
    """


class RequestError(Exception):
    """A request failed. The gRPC and REST layers turn this error into a status.

    Attributes:
        code: name of the gRPC status code, for example ``"INVALID_ARGUMENT"``.
        message: TensorFlow Serving's message for this error, or a more helpful one if it has none.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def invalid_argument(message: str) -> RequestError:
    """Return an INVALID_ARGUMENT error.

    >>> invalid_argument("Input is empty.").code
    'INVALID_ARGUMENT'
    """
    return RequestError("INVALID_ARGUMENT", message)


def deadline_exceeded() -> RequestError:
    """Return the error of a request that did not finish in time, with TensorFlow Serving's text."""
    return RequestError("DEADLINE_EXCEEDED", "Timed out waiting for notification")
