"""The exceptions of the export are public, and their docstrings have examples."""

from __future__ import annotations

import doctest

import pytest

import bertbundle_export
from bertbundle.errors import BertBundleError
from bertbundle_export import errors


def test_every_error_is_public() -> None:
    """Each exception of the export is a public name, and is in the docstring of `bertbundle_export.errors`."""
    found: list[type[BertBundleError]] = [BertBundleError]
    for error in found:
        found.extend(each for each in error.__subclasses__() if each.__module__ == errors.__name__)
    names = {error.__name__ for error in found[1:]}
    assert names == set(errors.__all__)
    assert names <= set(bertbundle_export.__all__)
    assert all(name in (errors.__doc__ or "") for name in names)


@pytest.mark.parametrize("name", errors.__all__)
def test_errors_have_examples(name: str) -> None:
    """The docstring of each exception has an example."""
    assert ">>> " in (getattr(errors, name).__doc__ or "")


def test_examples_in_docstrings() -> None:
    """The examples in docstrings give the results that they show."""
    results = doctest.testmod(errors)
    assert results.failed == 0
    assert results.attempted >= len(errors.__all__)
