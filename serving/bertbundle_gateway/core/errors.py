"""Errors of the text APIs: one table from the client's exceptions to a status code, a reason and a message.

No message quotes a text, and none has an address or a path of the server: those are logged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bertbundle import (
    BertBundleError,
    DeadlineExceeded,
    InputError,
    InvalidRequest,
    ManifestError,
    ModelNotFound,
    Overloaded,
    ServerError,
    ServerUnavailable,
    SignatureNotFound,
    TextTooLong,
)

__all__ = ["HTTP_STATUS", "ItemError", "RequestError", "invalid_request", "item_error", "request_error"]

_logger = logging.getLogger(__name__)

HTTP_STATUS: Mapping[str, int] = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "INTERNAL": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""The HTTP status of each code that an error may have. Source: the comments in google/rpc/code.proto."""


@dataclass(frozen=True, slots=True)
class ItemError:
    """Why one text of a request has no result.

    Attributes:
        code: name of the gRPC status code.
        reason: what is wrong, in capital letters for programs: EMPTY_TEXT, TEXT_TOO_LONG, INVALID_UNICODE or
            INVALID_TEXT.
        message: one or two sentences that never quote the text.
    """

    code: str
    reason: str
    message: str


class RequestError(BertBundleError):
    """A whole request failed.

    Attributes:
        code: name of the gRPC status code; `HTTP_STATUS` has the HTTP status.
        reason: what is wrong, in capital letters for programs, for example WRONG_TASK; see docs/text-api.md.
        message: what happened and the next step.
        field: the field of the request that is wrong, for example "texts"; "" for none.
        right_method: for WRONG_TASK, the name in `METHODS` of the method that answers the model's task; else "".
        metadata: further facts for programs, such as the name of the model.
    """

    def __init__(
        self,
        code: str,
        reason: str,
        message: str,
        *,
        field: str = "",
        right_method: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Store the attributes."""
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.field = field
        self.right_method = right_method
        self.metadata = dict(metadata or {})

    def text(self, route: Callable[[str], str]) -> str:
        """Return the message, with the method to use instead as an API calls it.

        >>> error = RequestError("FAILED_PRECONDITION", "WRONG_TASK", "model 'ner' ...", right_method="entities")
        >>> error.text(lambda method: f"POST /v1/models/ner:{method}")
        "model 'ner' ... Use POST /v1/models/ner:entities."
        """
        return f"{self.message} Use {route(self.right_method)}." if self.right_method else self.message


def invalid_request(reason: str, message: str, *, field: str = "") -> RequestError:
    """Return the error for a request that is wrong whatever the model is."""
    return RequestError("INVALID_ARGUMENT", reason, message, field=field)


@dataclass(frozen=True, slots=True)
class _Rule:
    error: type[BertBundleError]
    code: str
    reason: str
    message: str
    marker: str = ""


# The first rule applies whose class the error has, and whose marker is in its details. `{model}` is the model as the
# request names it. Source of the marker: TensorFlow Serving's server_core.cc.
_RULES = (
    _Rule(
        InvalidRequest,
        "NOT_FOUND",
        "MODEL_NOT_FOUND",
        "There is no {model}. Check its label.",
        "Unrecognized servable version label",
    ),
    _Rule(ModelNotFound, "NOT_FOUND", "MODEL_NOT_FOUND", "There is no {model}. Check its name, version and label."),
    _Rule(
        DeadlineExceeded,
        "DEADLINE_EXCEEDED",
        "DEADLINE_EXCEEDED",
        "The server of {model} did not answer in time. Raise the timeout, or send fewer texts at once.",
    ),
    _Rule(Overloaded, "RESOURCE_EXHAUSTED", "OVERLOADED", "The server of {model} is overloaded. Retry later."),
    _Rule(
        ServerUnavailable,
        "UNAVAILABLE",
        "SERVER_UNAVAILABLE",
        "The server of {model} cannot be reached. Retry later.",
    ),
    _Rule(
        SignatureNotFound,
        "FAILED_PRECONDITION",
        "NOT_A_BUNDLE",
        "{model} is not a bundle, so its tokenizer is not known here. Export it with bertbundle-export.",
    ),
    _Rule(
        ManifestError,
        "FAILED_PRECONDITION",
        "UNSUPPORTED_BUNDLE",
        "The description of {model} cannot be read. Upgrade bertbundle here, or export the model again.",
    ),
    _Rule(
        InvalidRequest,
        "INTERNAL",
        "REJECTED_BY_SERVER",
        "The server of {model} rejected the request. The log here has its answer.",
    ),
    _Rule(ServerError, "INTERNAL", "SERVER_ERROR", "The server of {model} failed. The log here has its answer."),
)


def request_error(error: BertBundleError, model: str) -> RequestError:
    """Return the error of a request for an exception of the client.

    Args:
        error: the exception; its message is logged, as it may have the server's address.
        model: the model as the request names it, for example ``model 'ner'``.
    """
    if isinstance(error, RequestError):
        return error
    if isinstance(error, InputError):
        return RequestError("INVALID_ARGUMENT", "INVALID_TEXT", _sentence(error.without_text))
    details = str(getattr(error, "details", ""))
    rule = next((rule for rule in _RULES if isinstance(error, rule.error) and rule.marker in details), _RULES[-1])
    _logger.warning("%s: %s", rule.reason, error)
    return RequestError(rule.code, rule.reason, _sentence(rule.message.format(model=model)))


def _sentence(message: str) -> str:
    return message[:1].upper() + message[1:]


def item_error(error: InputError, item: object) -> ItemError:
    """Return the error of one text for an exception of the client.

    Args:
        error: the exception.
        item: the text, pair or words.
    """
    return ItemError("INVALID_ARGUMENT", _reason(error, item), _sentence(error.without_text))


def _reason(error: InputError, item: object) -> str:
    if isinstance(error, TextTooLong):
        return "TEXT_TOO_LONG"
    parts = [item] if isinstance(item, str) else list(item) if isinstance(item, list | tuple) else []
    if any(not part.strip() for part in ([" ".join(parts)] if isinstance(item, list) else parts)):
        return "EMPTY_TEXT"
    try:
        "".join(parts).encode()
    except UnicodeEncodeError:
        return "INVALID_UNICODE"
    return "INVALID_TEXT"
