"""Shared by the tests of all packages: optional data, and bundles of real weights, exported once per session."""

from __future__ import annotations

import importlib
import os
import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from optional import skip_without
from paths import ROOT
from skip_summary import pytest_terminal_summary as pytest_terminal_summary  # pytest looks for it here

# PyPI's torch for Linux needs triton, and triton crashes the process if TensorFlow is imported before it.
if find_spec("triton") is not None:
    importlib.import_module("triton")

# Tests that import onnxruntime directly disable its telemetry too: see bertbundle._shared.onnxruntime_loader.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

DATA = Path(os.environ.get("BERTBUNDLE_DATA") or ROOT.parent / "shared")
"""Directory of the data sets and the model that are not part of the project: see CONTRIBUTING.md."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give pytest-xdist the tests of a folder as a group: they share models and servers.

    A group is a folder of `tests`, or a folder of that where the tests mirror a package.
    """
    for item in items if config.pluginmanager.hasplugin("xdist") else ():
        folder = item.path.relative_to(ROOT / "tests").parent
        item.add_marker(pytest.mark.xdist_group("/".join(folder.parts[:2])))


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """A function that returns a path in the data directory, or skips the test if it does not exist."""

    def find(name: str) -> Path:
        if not (DATA / name).exists():
            skip_without(name, "set BERTBUNDLE_DATA to the directory that contains it")
        return DATA / name

    return find


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the bundles that this session exports."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def tensorflow() -> Any:
    """TensorFlow, imported without the warnings of its own imports."""
    from bertbundle_export.tensorflow_import import tf

    return tf


@pytest.fixture(scope="session")
def minilm(models: Path, tensorflow: Any) -> Path:
    """The version directory of the real all-MiniLM-L6-v2."""
    del tensorflow
    from bertbundle_export import export_bundle
    from real_weights import fetch

    source = fetch("all-MiniLM-L6-v2")
    return export_bundle(source, name="minilm", output=models, max_length=64, lengths=(16, 32)).path


@pytest.fixture(scope="session")
def rampart(models: Path, tensorflow: Any) -> Path:
    """The version directory of the real Rampart tagger, exported as in `make demo`."""
    del tensorflow
    from bertbundle_export import export_bundle
    from real_weights import fetch

    return export_bundle(
        fetch("rampart"),
        name="rampart",
        output=models,
        max_length=64,
        lengths=(16, 32),
        label_scheme="IO",
        word_labels="first-labelled",
    ).path


@pytest.fixture(scope="session")
def ner(models: Path, shared: Callable[[str], Path], tensorflow: Any) -> Path:
    """The version directory of the Chinese NER model with constrained decoding."""
    return _export_ner("ner", models, shared, tensorflow, "auto")


@pytest.fixture(scope="session")
def ner_argmax(models: Path, shared: Callable[[str], Path], tensorflow: Any) -> Path:
    """The version directory of the Chinese NER model with argmax decoding."""
    return _export_ner("ner_argmax", models, shared, tensorflow, "argmax")


def _export_ner(name: str, models: Path, shared: Callable[[str], Path], tensorflow: Any, decoding: str) -> Path:
    del tensorflow
    from bertbundle_export import export_bundle

    source = shared("models/resume-ner-3x128")
    return export_bundle(
        source, name=name, output=models, characters=True, label_decoding=decoding, lengths=(16, 32, 64)
    ).path


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """Return a key and its self-signed certificate for the name ``localhost``, as PEM."""
    directory: Path = tmp_path_factory.mktemp("tls")
    key, cert = directory / "key.pem", directory / "cert.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    try:
        subprocess.run([*command.split(), "-keyout", key, "-out", cert], check=True, capture_output=True, timeout=60)
    except FileNotFoundError:
        skip_without("openssl")
    return key.read_bytes(), cert.read_bytes()
