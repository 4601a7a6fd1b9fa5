"""Errors of request bodies: their number is bounded, whatever a body has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import ValidationError

import bertbundle_gateway.rest_api.app  # noqa: F401 - defines all bodies
from bertbundle_gateway.web.validation import Body, validation_error

MANY = 1000
MAX_ERRORS = 20


def bodies(base: type[Body] = Body) -> Iterator[type[Body]]:
    """Yield all classes of request bodies, and of parts of them."""
    for body in base.__subclasses__():
        yield body
        yield from bodies(body)


def count_errors(body: type[Body], document: object) -> int:
    """Return the number of errors of a document."""
    with pytest.raises(ValidationError) as caught:
        body.model_validate(document)
    return caught.value.error_count()


@pytest.mark.parametrize("body", [*bodies()], ids=lambda body: body.__name__)
def test_number_of_errors(body: type[Body]) -> None:
    """Many wrong items or unknown fields give few errors: a body of 16 MB could have millions."""
    assert count_errors(body, {f"field_{index}": 1 for index in range(MANY)}) == 1
    wrong = {name: [None] * MANY for name in body.model_fields}
    assert count_errors(body, wrong) <= MAX_ERRORS * len(wrong)
    nested = {name: [["x"] * MANY] * MANY for name in body.model_fields}
    assert count_errors(body, nested) <= MAX_ERRORS * len(wrong)


def test_too_many_fields() -> None:
    """A body with too many fields is refused as one with an unknown field."""
    body = next(body for body in bodies() if body.__name__ == "EmbeddingsRequest")
    with pytest.raises(ValidationError) as caught:
        body.model_validate({f"field_{index}": 1 for index in range(MANY)})
    errors = [{**item, "loc": ("body", *item["loc"])} for item in caught.value.errors()]
    error = validation_error(errors, body)
    assert error.reason == "UNKNOWN_FIELD"
    assert error.message == "Unknown field, the fields are version, label, truncation, stride, texts."
