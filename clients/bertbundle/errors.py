"""The exceptions of bertbundle.

Everything raised for something that was given or that went wrong outside is a `BertBundleError`; misuse of a
function (a wrong argument type, an unknown option) raises the builtins.

```
BertBundleError
├── ManifestError            bundle.json missing, malformed, from a newer schema
├── CheckpointError          not a checkpoint we can read
├── ExportError              an export that cannot be finished
│   ├── OutputNamesError     an exported format has other outputs than the source model
│   ├── OutputShapeError     an output has another shape or dtype
│   └── ToleranceError       an output differs by more than the stated tolerance
├── InputError               empty text or batch, wrong task, a file that cannot be read
│   └── TextTooLong          more tokens than the model takes
├── ServeError               the embedded server cannot start
└── ServerError              what a server answered; carries `code` and `details`
    ├── ServerUnavailable    nobody answers at the address
    ├── DeadlineExceeded     no answer within the timeout
    ├── Overloaded           the server refuses work for now
    ├── ModelNotFound        no such model or version
    ├── SignatureNotFound    the model has no such signature
    └── InvalidRequest       the server does not accept the request
```
"""

from __future__ import annotations

__all__ = [
    "BertBundleError",
    "CheckpointError",
    "DeadlineExceeded",
    "ExportError",
    "InputError",
    "InvalidRequest",
    "ManifestError",
    "ModelNotFound",
    "OutputNamesError",
    "OutputShapeError",
    "Overloaded",
    "ServeError",
    "ServerError",
    "ServerUnavailable",
    "SignatureNotFound",
    "TextTooLong",
    "ToleranceError",
]


class BertBundleError(Exception):
    """Base of all errors of this project. The message says what happened, the value, and the next step."""


class ManifestError(BertBundleError):
    """A bundle.json that is missing, malformed, or from a newer schema."""


class CheckpointError(BertBundleError):
    """A source that is not a checkpoint we can read: says what was found and what would do."""


class ExportError(BertBundleError):
    """An export that cannot be finished. Nothing is left behind."""


class OutputNamesError(ExportError):
    """An exported format has other outputs than the source model."""


class OutputShapeError(ExportError):
    """An output of an exported format has another shape or dtype than the source model's."""


class ToleranceError(ExportError):
    """An output of an exported format differs from the source model's by more than the stated tolerance."""


class InputError(BertBundleError):
    """Text that cannot be answered as given: too long, empty, or meant for another task."""


class TextTooLong(InputError):
    """A text with more tokens than the model takes, under ``truncation="error"``."""


class ServeError(BertBundleError):
    """The embedded server cannot start: an occupied port, no model directory, a malformed config file."""


class ServerError(BertBundleError):
    """What a server answered instead of a result.

    Attributes:
        code: name of the gRPC status code, for example ``"NOT_FOUND"``.
        details: the server's own text.
    """

    def __init__(self, message: str, *, code: str = "UNKNOWN", details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.details = details


class ServerUnavailable(ServerError):
    """Nobody answers at the address, or the connection broke (UNAVAILABLE)."""


class DeadlineExceeded(ServerError):
    """No answer came within the timeout (DEADLINE_EXCEEDED)."""


class Overloaded(ServerError):
    """The server refuses work for now: its queue or its thread pool is full."""


class ModelNotFound(ServerError):
    """The server has no such model or version (NOT_FOUND)."""


class SignatureNotFound(ServerError):
    """The model has no such signature (FAILED_PRECONDITION)."""


class InvalidRequest(ServerError):
    """The server does not accept the request (INVALID_ARGUMENT, FAILED_PRECONDITION, OUT_OF_RANGE)."""
