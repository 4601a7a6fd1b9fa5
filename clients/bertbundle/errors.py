"""The exceptions of bertbundle.

Invalid input and failures outside of the program raise a `BertBundleError`; misuse of a function (a wrong argument
type, an unknown option) raises a builtin exception. The export and the server define further errors with the same base
class: `bertbundle_export.errors` and `bertbundle_serving.errors`.

```
BertBundleError
├── ManifestError            bundle.json is missing, malformed, or has a newer schema version
├── InputError               empty text or batch, wrong task, unreadable file
│   └── TextTooLong          more tokens than the model accepts
└── ServerError              a call to the server failed; has `code` and `details`
    ├── ServerUnavailable    no server at the address, or the connection broke
    ├── DeadlineExceeded     no response within the timeout
    ├── Overloaded           the server temporarily rejects requests
    ├── ModelNotFound        no such model or version
    ├── SignatureNotFound    the model has no such signature
    └── InvalidRequest       the server rejected the request as invalid
```
"""

from __future__ import annotations

__all__ = [
    "BertBundleError",
    "DeadlineExceeded",
    "InputError",
    "InvalidRequest",
    "ManifestError",
    "ModelNotFound",
    "Overloaded",
    "ServerError",
    "ServerUnavailable",
    "SignatureNotFound",
    "TextTooLong",
]


class BertBundleError(Exception):
    """Base class of all errors of this project. The message says what happened, the value, and the next step.

    >>> try:
    ...     client.entities("")
    ... except BertBundleError as error:
    ...     print(error)
    text 0 is empty. Leave it out, or pass a non-empty text.
    """


class ManifestError(BertBundleError):
    """A bundle.json is missing, malformed, or has a newer schema version.

    >>> try:
    ...     Manifest.from_json("{}")
    ... except ManifestError as error:
    ...     print("Export the bundle again:", type(error).__name__)
    Export the bundle again: ManifestError
    """


class InputError(BertBundleError):
    """The input is invalid: an empty text or batch, a text that is too long, or the wrong task for the model.

    >>> try:
    ...     client.classify("Wang")
    ... except InputError as error:
    ...     print(error)
    model 'tiny' is for token-classification, classify() needs a model for text-classification: use entities().
    """

    def __init__(self, message: str, *, quoted: str = "") -> None:
        """Store the message, and the part of it that quotes the input."""
        super().__init__(message)
        self._quoted = quoted

    @property
    def without_text(self) -> str:
        """The message without quotes of the input, for logs and for others than the author of the text.

        >>> InputError("text 0 has no tokens: 'x'. Leave it out.", quoted=": 'x'").without_text
        'text 0 has no tokens. Leave it out.'
        """
        return str(self).replace(self._quoted, "", 1)


class TextTooLong(InputError):
    """A text has more tokens than the model accepts, with ``truncation="error"``.

    >>> try:
    ...     client.entities("wang " * 99, truncation="error")
    ... except TextTooLong:
    ...     print(len(client.entities("wang " * 99, truncation="window")))
    99
    """


class ServerError(BertBundleError):
    """A call to the server failed.

    Attributes:
        code: name of the gRPC status code, for example ``"NOT_FOUND"``.
        details: error message of the server.

    >>> try:
    ...     Client(address, "other").entities("Wang")
    ... except ServerError as error:
    ...     print(error.code)
    NOT_FOUND
    """

    def __init__(self, message: str, *, code: str = "UNKNOWN", details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.details = details


class ServerUnavailable(ServerError):
    """There is no server at the address, or the connection broke (UNAVAILABLE).

    >>> try:
    ...     Client("localhost:1", "ner", retries=Retries(attempts=1)).entities("Wang")
    ... except ServerUnavailable as error:
    ...     print(error.code)
    UNAVAILABLE
    """


class DeadlineExceeded(ServerError):
    """There was no response within the timeout (DEADLINE_EXCEEDED).

    >>> try:
    ...     Client("localhost:1", "ner", timeout=1e-9).entities("Wang")
    ... except DeadlineExceeded as error:
    ...     print(error.code)
    DEADLINE_EXCEEDED
    """


class Overloaded(ServerError):
    """The server temporarily rejects requests: its queue or thread pool is full (RESOURCE_EXHAUSTED, UNAVAILABLE).

    >>> error_from_status(grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted", "localhost:8500")
    Overloaded('call to localhost:8500 failed with RESOURCE_EXHAUSTED: Server Threadpool Exhausted. Retry later, ...')
    """


class ModelNotFound(ServerError):
    """The server has no such model or version (NOT_FOUND).

    >>> try:
    ...     Client(address, "other").entities("Wang")
    ... except ModelNotFound as error:
    ...     print(error.details)
    Servable not found for request: Latest(other)
    """


class SignatureNotFound(ServerError):
    """The model has no such signature (FAILED_PRECONDITION).

    >>> try:
    ...     transport.predict(PredictCall("tiny", "length_99", {}), timeout=5)
    ... except SignatureNotFound as error:
    ...     print(error.details)
    Serving signature key "length_99" not found.
    """


class InvalidRequest(ServerError):
    """The server rejected the request as invalid (INVALID_ARGUMENT, FAILED_PRECONDITION, OUT_OF_RANGE).

    >>> error_from_status(grpc.StatusCode.INVALID_ARGUMENT, "input size does not match", "localhost:8500").code
    'INVALID_ARGUMENT'
    """
