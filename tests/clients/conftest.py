"""Fixtures of the client's tests: servers of the small model of `fakes`, the command in this process, a certificate."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from bertbundle.cli.main import main
from fakes import FakeServer, Model, make_manifest, predict_method, status_method, write_bundle

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


@pytest.fixture
def serve(start_server: Callable[..., FakeServer]) -> Callable[..., str]:
    """Return a function that serves a small model of a task under the name ``tiny`` and returns the address."""

    def serve(task: str = "token-classification", **changes: Any) -> str:
        model = Model(make_manifest(task, **changes))
        return start_server(predict_method(model), status_method).address

    return serve


@pytest.fixture
def ner(serve: Callable[..., str]) -> list[str]:
    """The connection flags of a served token classification model."""
    return ["--server", serve(), "--model", "tiny"]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that runs the command, checks that it succeeds without messages, and returns its output."""

    def run(*arguments: str) -> str:
        code = main(arguments)
        out, err = capsys.readouterr()
        assert (code, err) == (0, "")
        return out

    return run


@pytest.fixture
def fail(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that runs the command, checks that it fails with code 2, and returns its one-line message."""

    def fail(*arguments: str) -> str:
        try:
            code: Any = main(arguments)
        except SystemExit as stop:  # raised by argparse
            code = stop.code
        out, err = capsys.readouterr()
        assert code == 2
        assert out == ""
        assert err.startswith("bertbundle")
        assert err.count("\n") == 1
        assert err.endswith("\n")
        return err

    return fail


@pytest.fixture
def bulk(ner: list[str], capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs ``bertbundle bulk`` and returns exit code, standard output and standard error."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        code = main(["bulk", *ner, *map(str, arguments)])
        return (code, *capsys.readouterr())

    return run
