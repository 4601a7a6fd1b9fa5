"""Versions that load without a runtime, for tests of models and repositories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bertbundle_serving.config.models import ModelConfig
from bertbundle_serving.config.version_policy import LatestVersions, VersionPolicy
from bertbundle_serving.errors import ServeError
from bertbundle_serving.repository.model import LoadOptions, Model
from bertbundle_serving.repository.repository import Repository, RepositoryOptions
from bertbundle_serving.repository.version import VersionState

__all__ = ["FakeServable", "available_versions", "load_fake", "make_model", "make_repository", "version_states"]


class FakeServable:
    """A servable that only records whether it was closed."""

    description = "fake"
    concurrency = 1
    threads = 1

    def __init__(self) -> None:
        self.signatures: dict[str, Any] = {}
        self.closed = False

    def run(self, signature: str, inputs: Any, outputs: Any) -> dict[str, Any]:
        """Return no outputs."""
        del signature, inputs, outputs
        return {}

    def prepare_for_load(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Record the call."""
        self.closed = True


def load_fake(directory: Path) -> FakeServable:
    """Load a version. A file named ``broken`` makes it fail with the file's text as the message."""
    if (directory / "broken").exists():
        raise ServeError((directory / "broken").read_text())
    return FakeServable()


def make_model(base: Path, policy: VersionPolicy | None = None, **labels: int) -> Model:
    """Return the model ``m`` with fake versions."""
    return Model(ModelConfig("m", base, policy or LatestVersions(), labels), LoadOptions(load_fake))


def make_repository(base: Path, policy: VersionPolicy | None = None, **labels: int) -> Repository:
    """Return a repository of the model ``m`` with fake versions. It does not poll."""
    config = ModelConfig("m", base, policy or LatestVersions(), labels)
    return Repository([config], LoadOptions(load_fake), RepositoryOptions(poll_seconds=0))


def version_states(model: Model) -> dict[int, VersionState]:
    """Return the state of every version."""
    return {status.version: status.state for status in model.statuses()}


def available_versions(model: Model) -> set[int]:
    """Return the versions whose state is AVAILABLE."""
    return {version for version, state in version_states(model).items() if state == VersionState.AVAILABLE}
