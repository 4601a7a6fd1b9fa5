"""Fixtures of the client's tests: servers of the small model of `fakes`, and a certificate."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from fakes import FakeServer, write_bundle

# A slow machine is not a failure: there is no limit on the time of an example.
settings.register_profile("bertbundle", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("bertbundle")

SECONDS = 60.0
"""How long a server process may take to stop."""


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
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Return a function that starts a `bertbundle-serve` process of the small model and returns its address."""
    base = tmp_path_factory.mktemp("models") / "tiny"
    write_bundle(base)
    processes: list[subprocess.Popen[str]] = []
    command = [sys.executable, "-m", "bertbundle_serving", "--port=0", "--model_name=tiny", f"--model_base_path={base}"]
    log = (base.parent / "log").open("w", encoding="utf-8")

    def start(*flags: str) -> str:
        process = subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, stderr=log, text=True)
        processes.append(process)
        line = process.stdout.readline() if process.stdout else ""
        assert "listening on " in line, (base.parent / "log").read_text(encoding="utf-8")
        return line.split("listening on ")[1].strip()

    yield start
    for process in processes:
        process.terminate()
        process.communicate(timeout=SECONDS)
    log.close()
