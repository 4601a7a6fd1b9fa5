"""Fixtures for the export's tests: tiny checkpoints and their bundles."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bertbundle_export import Exported, export_bundle
from export_command import exit_code
from tiny_checkpoints import write_checkpoint

TINY_BUNDLES: dict[str, tuple[str, dict[str, Any]]] = {
    "token-classification": ("BertForTokenClassification", {}),
    "text-classification": ("BertForSequenceClassification", {"labels": ("bad", "good", "odd")}),
    "feature-extraction": ("BertModel", {}),
}


@pytest.fixture
def checkpoint(tmp_path: Path, tensorflow: Any) -> Callable[..., Path]:
    """Write a tiny checkpoint, see `write_checkpoint`; return its path."""
    del tensorflow

    def write(architecture: str = "BertForTokenClassification", *, name: str = "checkpoint", **options: Any) -> Path:
        return write_checkpoint(tmp_path / name, architecture, **options)

    return write


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], tensorflow: Any) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command in this process, which has TensorFlow; return its exit code and what it printed."""
    del tensorflow

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        words = [str(argument) for argument in arguments]
        code = exit_code(words)
        printed = capsys.readouterr()
        return subprocess.CompletedProcess(words, code, printed.out, printed.err)

    return run


@pytest.fixture(scope="session")
def export_tiny(tmp_path_factory: pytest.TempPathFactory, tensorflow: Any) -> Callable[[str], Exported]:
    """Export a tiny checkpoint of a task, once a session: pytest keeps one parameter of a fixture at a time."""
    del tensorflow

    @functools.cache
    def export(task: str) -> Exported:
        directory = tmp_path_factory.mktemp("export")
        architecture, options = TINY_BUNDLES[task]
        source = write_checkpoint(directory / "checkpoint", architecture, **options)
        return export_bundle(source, name="tiny", output=directory / "models")

    return export


@pytest.fixture(params=TINY_BUNDLES)
def tiny_bundle(request: pytest.FixtureRequest, export_tiny: Callable[[str], Exported]) -> Exported:
    """Give the bundle of a tiny checkpoint of each task."""
    return export_tiny(request.param)
