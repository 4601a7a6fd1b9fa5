"""The errors of the server use gRPC's status codes, and the examples in their docstrings are correct."""

from __future__ import annotations

import doctest

import grpc

from bertbundle_serving import errors
from bertbundle_serving.errors import CODES, ServeError


def test_codes_are_grpc_codes() -> None:
    """`CODES` has every gRPC status code at the index of its number."""
    assert {code.name: code.value[0] for code in grpc.StatusCode} == {name: n for n, name in enumerate(CODES)}


def test_serve_error_has_an_example() -> None:
    """The docstring of the exception that a user of the server sees has an example."""
    assert ">>> " in (ServeError.__doc__ or "")


def test_examples_in_docstrings() -> None:
    """The examples in docstrings give the results that they show."""
    results = doctest.testmod(errors)
    assert results.failed == 0
    assert results.attempted > 0
