"""A bundle that runs in this process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from bertbundle import Client, InputError, ModelNotFound
from fakes import FakeTransport, connect, write_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model directory of the small model."""
    base: Path = tmp_path_factory.mktemp("local") / "tiny"
    write_bundle(base)
    return base


@pytest.mark.parametrize("name", [pytest.param("", id="model"), pytest.param("1", id="version")])
def test_local_bundle(bundle: Path, name: str) -> None:
    """A bundle in this process, opened by its version or model directory, gives the results of a served bundle."""
    texts = ["Wang lives in Berlin", "a"]
    with Client.local(bundle / name) as client:
        assert client.entities(texts) == connect(FakeTransport()).entities(texts)
        assert client.status()[0].version == 1
        assert client.manifest().name == "tiny"


def test_no_bundle(tmp_path: Path) -> None:
    """A directory without a bundle raises an InputError that says what to pass."""
    with pytest.raises(InputError, match=r"no bundle.json in .*Pass the directory of a bundle"):
        Client.local(tmp_path)


def test_no_onnxruntime(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without onnxruntime, an InputError says how to install it."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"pip install 'bertbundle\[local\]'"):
        Client.local(bundle)


def test_version_of_a_bundle(tmp_path: Path) -> None:
    """A bundle in this process answers for its own version only, and has no labels."""
    write_bundle(tmp_path)
    assert Client.local(tmp_path, version=1).entities("wang")
    with pytest.raises(ModelNotFound, match="is version 1, not 2"):
        Client.local(tmp_path, version=2).entities("wang")
    with pytest.raises(ValueError, match="'stable' is a label, which LocalTransport does not support"):
        Client.local(tmp_path, version="stable")


@pytest.mark.parametrize(("threads", "error"), [(0, ValueError), (-1, ValueError), ("2", TypeError), (1.5, TypeError)])
def test_invalid_threads(bundle: Path, threads: Any, error: type[Exception]) -> None:
    """A number of threads that is none is an error that names it."""
    with pytest.raises(error, match="threads "):
        Client.local(bundle, threads=threads)
