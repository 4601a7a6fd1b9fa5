"""The exceptions of the server: one for a server that cannot start, one for a request that gets no result."""

from __future__ import annotations

from bertbundle.errors import BertBundleError

__all__ = ["CODES", "INTERNAL_TEXT", "RequestError", "ServeError"]

# Names of the status codes by number (https://grpc.github.io/grpc/core/md_doc_statuscodes.html); TensorFlow's are
# the same (tensorflow/core/protobuf/error_codes.proto).
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
"""What a caller reads of an error that is ours: paths and stack traces are not for them."""


class ServeError(BertBundleError):
    """The embedded server cannot start: an occupied port, no model directory, a malformed config file.

    >>> issubclass(ServeError, BertBundleError)
    True
    """


class RequestError(Exception):
    """A request that gets no result. The domain raises it; the servicer turns it into a gRPC status.

    Attributes:
        code: name of the gRPC status code, for example ``"INVALID_ARGUMENT"``.
        message: the text a TensorFlow Serving server would give, or a better one where it would give none.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
