"""Imports without garbage collection."""

from __future__ import annotations

import gc

import pytest

from bertbundle._shared.large_imports import without_collection


def test_collection_goes_on_after_an_error() -> None:
    """Garbage is collected again after the context, also after an import that failed."""

    def fail() -> None:
        assert not gc.isenabled()
        raise ImportError

    with pytest.raises(ImportError), without_collection():
        fail()
    assert gc.isenabled()


def test_disabled_collection_stays_disabled() -> None:
    """A process that has disabled the collection keeps it disabled."""
    gc.disable()
    try:
        with without_collection():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()
