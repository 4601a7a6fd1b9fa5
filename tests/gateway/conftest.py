"""Fixtures of the gateway's tests: the stub that protoc generates from the published .proto file."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from fakes import FakeServer
from paths import ROOT
from text_api import TextApi, text_api

# A slow machine is not a failure: there is no limit on the time of an example.
settings.register_profile("bertbundle", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("bertbundle")

PROTO = "bertbundle/text/v1/text_service.proto"


@pytest.fixture
def anyio_backend() -> str:
    """The event loop of the tests that are coroutines (the marker anyio)."""
    return "asyncio"


@pytest.fixture(scope="session")
def make_stub(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The class TextServiceStub, generated from the .proto file; it takes a channel."""
    directory: Path = tmp_path_factory.mktemp("stub")
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'clients'}", f"--grpc_python_out={directory}"]
    subprocess.run([*command, PROTO], check=True, timeout=60)
    (path,) = directory.rglob("*_pb2_grpc.py")
    spec = importlib.util.spec_from_file_location("text_service_pb2_grpc", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.TextServiceStub


@pytest.fixture
def start_server() -> Iterator[Callable[..., FakeServer]]:
    """Return a function that starts a `FakeServer`; it stops after the test."""
    servers: list[FakeServer] = []

    def start(*arguments: Any, **options: Any) -> FakeServer:
        servers.append(FakeServer(*arguments, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def api() -> Iterator[TextApi]:
    """A gateway with REST in front of a server with a small model of each task."""
    with text_api() as started:
        yield started
