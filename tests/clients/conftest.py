"""Servers of the small model of `fakes`, and what else the client's tests share."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

import fakes as fake_module
from fakes import FakeServer, write_bundle
from optional import skip_without

# A busy machine is not a failure: no limit on the time of an example.
settings.register_profile("bertbundle", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("bertbundle")


@pytest.fixture
def start() -> Iterator[Callable[..., FakeServer]]:
    """Start gRPC servers in this process; they end with the test."""
    started: list[FakeServer] = []

    def start_one(*arguments: Any, **options: Any) -> FakeServer:
        started.append(FakeServer(*arguments, **options))
        return started[-1]

    yield start_one
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def fakes() -> Any:
    """The module of fakes."""
    return fake_module


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """Give key and self-signed certificate of the name ``localhost``, PEM."""
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


@pytest.fixture(scope="session")
def tensorflow() -> Any:
    """TensorFlow, whose import warns."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow as tf
    return tf


SECONDS = 60.0


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Start `bertbundle-serve` processes of the small model; each gives its address and ends with the session."""
    base = tmp_path_factory.mktemp("models") / "tiny"
    write_bundle(base)
    started: list[subprocess.Popen[str]] = []
    command = [sys.executable, "-m", "bertbundle_serving", "--port=0", "--model_name=tiny", f"--model_base_path={base}"]
    log = (base.parent / "log").open("w", encoding="utf-8")

    def start_one(*flags: str) -> str:
        process = subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, stderr=log, text=True)
        started.append(process)
        line = process.stdout.readline() if process.stdout else ""
        assert "listening on " in line, (base.parent / "log").read_text(encoding="utf-8")
        return line.split("listening on ")[1].strip()

    yield start_one
    for process in started:
        process.terminate()
        process.communicate(timeout=SECONDS)
    log.close()
