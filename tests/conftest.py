"""Shared by the tests of all packages: optional data, and bundles of real weights, exported once per session."""

from __future__ import annotations

import gc
import os
import subprocess
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

import triton_first  # noqa: F401
from optional import skip_without
from paths import ROOT
from skip_summary import pytest_terminal_summary as pytest_terminal_summary  # pytest looks for it here

# Tests that import onnxruntime directly disable its telemetry too: see bertbundle._shared.onnxruntime_loader.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

DATA = Path(os.environ.get("BERTBUNDLE_DATA") or ROOT.parent / "shared")
"""Directory of the data sets and the model that are not part of the project: see CONTRIBUTING.md."""

SAME_PROCESS = {"gateway/ui": "congruence"}
"""Folders whose tests need the bundles of real models that those of another folder export."""

ENGINES = dict.fromkeys(("benchmarks", "clients", "clients/batch", "docs"), "engines")
"""Folders of the tests that start Ray or Spark and find their workers by name: they must not run side by side."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let pytest-xdist run the tests of a folder in one process, and those with the same real models."""
    from xdist.scheduler import LoadScopeScheduling

    shared_scopes = ENGINES if config.option.markexpr == "cluster" else SAME_PROCESS

    class FolderScheduling(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            """Return the folder of `tests`, or that below it where the tests mirror a package."""
            folder = "/".join(PurePosixPath(nodeid.partition("::")[0]).parent.parts[1:3])
            return shared_scopes.get(folder, folder)

    return FolderScheduling(config, log)


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
    """TensorFlow, imported without the warnings of its own imports.

    It makes 400,000 objects, which the garbage collector need not visit again: it took 8 % of the tests' time.
    """
    from bertbundle_export.tensorflow_import import tf

    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
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
