"""Run the `bertbundle` command in this process against a fake server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bertbundle.cli.main import main

if TYPE_CHECKING:
    from fakes import FakeServer

    Fakes = Any


@pytest.fixture
def serve(fakes: Fakes, start: Callable[..., FakeServer]) -> Callable[..., str]:
    """Return a function that serves a small model of a task under the name ``tiny`` and returns the address."""

    def serve(task: str = "token-classification", **changes: Any) -> str:
        model = fakes.Model(fakes.make_manifest(task, **changes))
        return start(fakes.answers_of(model), fakes.available).address

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
