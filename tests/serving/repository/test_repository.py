"""The repository checks models and labels at the start, and finds versions by label."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bertbundle_serving.config.models import ModelConfig
from bertbundle_serving.config.version_policy import AllVersions
from bertbundle_serving.errors import RequestError, ServeError
from bertbundle_serving.repository.model import LoadOptions
from bertbundle_serving.repository.repository import ModelRef, Repository, RepositoryOptions
from fake_versions import load_fake, make_repository


def test_only_broken_versions_stop_the_start(tmp_path: Path) -> None:
    """If a model's only version is broken, the start fails with the version and the reason."""
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "broken").write_text("no weights.")
    with pytest.raises(ServeError, match=r"no version of model m .* version 1: no weights\. Repair or remove it"):
        make_repository(tmp_path).start()


def test_label_of_missing_version_stops_the_start(tmp_path: Path) -> None:
    """If a label points to a version that is not available, the start fails."""
    (tmp_path / "1").mkdir()
    with pytest.raises(ServeError, match="Request to assign label to version 7 of model m, which is not currently"):
        make_repository(tmp_path, stable=7).start()


def test_labels_for_unavailable_versions(tmp_path: Path) -> None:
    """With labels_for_unavailable a new label may point to a missing version; an existing label may not."""
    (tmp_path / "1").mkdir()
    config = ModelConfig("m", tmp_path, AllVersions(), {"stable": 1})
    repository = Repository([config], LoadOptions(load_fake), RepositoryOptions(0, labels_for_unavailable=True))
    repository.start()
    repository.reconfigure([replace(config, labels={"stable": 1, "canary": 2})])
    with pytest.raises(ServeError, match="Request to assign label to version 2 of model m"):
        repository.reconfigure([replace(config, labels={"stable": 2})])
    with repository.acquire(ModelRef("m", label="stable")) as version:
        assert version.number == 1


def test_acquire_by_label(tmp_path: Path) -> None:
    """A label selects its version; an unknown label is an error."""
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
    repository = make_repository(tmp_path, AllVersions(), stable=1)
    repository.start()
    with repository.acquire(ModelRef("m", label="stable")) as version:
        assert version.number == 1
    raises = pytest.raises(RequestError, match="Unrecognized servable version label: canary")
    with raises, repository.acquire(ModelRef("m", label="canary")):
        pass
