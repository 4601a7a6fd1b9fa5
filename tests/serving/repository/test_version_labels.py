"""Version labels: resolved in requests, and checked when they are assigned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bertbundle_serving.config.models import ModelConfig
from bertbundle_serving.config.version_policy import AllVersions
from bertbundle_serving.errors import RequestError, ServeError
from bertbundle_serving.repository.model import LoadOptions
from bertbundle_serving.repository.repository import Repository, RepositoryOptions
from bertbundle_serving.repository.version_labels import ModelRef
from fake_versions import load_fake, make_repository


def test_label_of_absent_version_stops_the_start(tmp_path: Path) -> None:
    """A label must point to a version that is available."""
    (tmp_path / "1").mkdir()
    with pytest.raises(ServeError, match="Request to assign label to version 7 of model m, which is not currently"):
        make_repository(tmp_path, stable=7).start()


def test_labels_that_wait(tmp_path: Path) -> None:
    """A new label may point to a version to come, if the server lets it; one in use stays where it was."""
    (tmp_path / "1").mkdir()
    config = ModelConfig("m", tmp_path, AllVersions(), {"stable": 1})
    repository = Repository([config], LoadOptions(load_fake), RepositoryOptions(0, labels_for_unavailable=True))
    repository.start()
    repository.reconfigure([replace(config, labels={"stable": 1, "canary": 2})])
    with pytest.raises(ServeError, match="Request to assign label to version 2 of model m"):
        repository.reconfigure([replace(config, labels={"stable": 2})])
    with repository.acquire(ModelRef("m", label="stable")) as version:
        assert version.number == 1


def test_labels_name_versions(tmp_path: Path) -> None:
    """A label stands for its version, an unknown one is refused."""
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
    repository = make_repository(tmp_path, AllVersions(), stable=1)
    repository.start()
    with repository.acquire(ModelRef("m", label="stable")) as version:
        assert version.number == 1
    refused = pytest.raises(RequestError, match="Unrecognized servable version label: canary")
    with refused, repository.acquire(ModelRef("m", label="canary")):
        pass
