"""The table of errors."""

from __future__ import annotations

import inspect
import logging

import pytest
from google.rpc import code_pb2

import bertbundle.errors
from bertbundle import BertBundleError, InputError, InvalidRequest, ServerError, TextTooLong
from bertbundle_gateway.core.errors import HTTP_STATUS, RequestError, item_error, request_error

SERVER_ERRORS = [
    error
    for _, error in inspect.getmembers(bertbundle.errors, inspect.isclass)
    if issubclass(error, BertBundleError) and not issubclass(error, InputError)
]


def test_codes() -> None:
    """Every code with an HTTP status is one of google.rpc.Code."""
    assert set(HTTP_STATUS) - set(code_pb2.Code.keys()) == set()


@pytest.mark.parametrize("error", SERVER_ERRORS)
def test_every_error(error: type[BertBundleError], caplog: pytest.LogCaptureFixture) -> None:
    """Every error of the client has a code, a reason and a message of its own, which does not have the server's."""
    with caplog.at_level(logging.WARNING):
        converted = request_error(error("call to 10.0.0.1:8500 failed"), "model 'ner'")
    assert converted.code in HTTP_STATUS
    assert converted.reason
    assert "model 'ner'" in converted.message.lower()
    assert "10.0.0.1" not in converted.message
    assert "10.0.0.1" in caplog.text


def test_unknown_label() -> None:
    """TensorFlow Serving's INVALID_ARGUMENT for an unknown label is NOT_FOUND; others are errors of the server."""
    details = "Unrecognized servable version label: canary"
    assert request_error(InvalidRequest("x", details=details), "model 'ner'").code == "NOT_FOUND"
    assert request_error(InvalidRequest("x", details="input size"), "model 'ner'").code == "INTERNAL"
    assert request_error(ServerError("x", code="UNKNOWN"), "model 'ner'").code == "INTERNAL"


@pytest.mark.parametrize(
    ("error", "item", "reason"),
    [
        (TextTooLong("text 0 is long: 'secret'.", quoted=": 'secret'"), "secret", "TEXT_TOO_LONG"),
        (InputError("text 0 is empty."), " \t", "EMPTY_TEXT"),
        (InputError("text 0 is empty."), ("question", ""), "EMPTY_TEXT"),
        (InputError("text 0 is empty."), [], "EMPTY_TEXT"),
        (InputError("text 0 is not valid."), "\ud800", "INVALID_UNICODE"),
        (InputError("text 0 has no tokens: 'secret'.", quoted=": 'secret'"), ["secret"], "INVALID_TEXT"),
    ],
)
def test_items(error: InputError, item: object, reason: str) -> None:
    """The error of a text has a reason, and does not quote the text."""
    converted = item_error(error, item)
    assert (converted.code, converted.reason) == ("INVALID_ARGUMENT", reason)
    assert "secret" not in converted.message


def test_right_method() -> None:
    """An error names the right method as the API calls it."""
    error = RequestError("FAILED_PRECONDITION", "WRONG_TASK", "Wrong.", right_method="entities")
    assert error.text(lambda method: f"POST :{method}") == "Wrong. Use POST :entities."
    assert RequestError("INTERNAL", "INTERNAL", "Wrong.").text(str.upper) == "Wrong."
