"""The exceptions of bertbundle.

Everything raised for something that was given or that went wrong outside is a `BertBundleError`; misuse of a
function (a wrong argument type, an unknown option) raises the builtins. The export and the server have errors of their
own under the same base: `bertbundle_export.errors` and `bertbundle_serving.errors`.

```
BertBundleError
├── ManifestError            bundle.json missing, malformed, from a newer schema
├── InputError               empty text or batch, wrong task, a file that cannot be read
│   └── TextTooLong          more tokens than the model takes
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
    """Base of all errors of this project. The message says what happened, the value, and the next step.

    >>> try:
    ...     client.entities("")
    ... except BertBundleError as error:
    ...     print(error)
    text 0 is empty. Leave it out, or give it some text.
    """


class ManifestError(BertBundleError):
    """A bundle.json that is missing, malformed, or from a newer schema.

    >>> try:
    ...     Manifest.from_json("{}")
    ... except ManifestError as error:
    ...     print("Export the bundle again:", type(error).__name__)
    Export the bundle again: ManifestError
    """


class InputError(BertBundleError):
    """Text that cannot be answered as given: too long, empty, or meant for another task.

    >>> try:
    ...     client.classify("Wang")
    ... except InputError as error:
    ...     print(error)
    model 'tiny' does token-classification, classify() needs a model for text-classification: use entities().
    """


class TextTooLong(InputError):
    """A text with more tokens than the model takes, under ``truncation="error"``.

    >>> try:
    ...     client.entities("wang " * 99, truncation="error")
    ... except TextTooLong:
    ...     print(len(client.entities("wang " * 99, truncation="window")))
    99
    """


class ServerError(BertBundleError):
    """What a server answered instead of a result.

    Attributes:
        code: name of the gRPC status code, for example ``"NOT_FOUND"``.
        details: the server's own text.

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
    """Nobody answers at the address, or the connection broke (UNAVAILABLE).

    >>> try:
    ...     Client("localhost:1", "ner", retries=Retries(attempts=1)).entities("Wang")
    ... except ServerUnavailable as error:
    ...     print(error.code)
    UNAVAILABLE
    """


class DeadlineExceeded(ServerError):
    """No answer came within the timeout (DEADLINE_EXCEEDED).

    >>> try:
    ...     Client("localhost:1", "ner", timeout=1e-9).entities("Wang")
    ... except DeadlineExceeded as error:
    ...     print(error.code)
    DEADLINE_EXCEEDED
    """


class Overloaded(ServerError):
    """The server refuses work for now: its queue or its thread pool is full.

    >>> error_from_status(grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted", "localhost:8500")
    Overloaded('localhost:8500 answered RESOURCE_EXHAUSTED: Server Threadpool Exhausted. Retry later, ...')
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
    ...     transport.predict("tiny", "length_99", {}, timeout=5)
    ... except SignatureNotFound as error:
    ...     print(error.details)
    Serving signature key "length_99" not found.
    """


class InvalidRequest(ServerError):
    """The server does not accept the request (INVALID_ARGUMENT, FAILED_PRECONDITION, OUT_OF_RANGE).

    >>> error_from_status(grpc.StatusCode.INVALID_ARGUMENT, "input size does not match", "localhost:8500").code
    'INVALID_ARGUMENT'
    """
