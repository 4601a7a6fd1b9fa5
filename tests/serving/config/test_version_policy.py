"""A version policy selects the versions to serve."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertbundle_serving.config.models import ModelConfig
from bertbundle_serving.config.version_policy import AllVersions, LatestVersions, SpecificVersions, VersionPolicy
from bertbundle_serving.repository.model import LoadOptions, Model
from fake_versions import available_versions, load_fake, make_model


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        pytest.param(LatestVersions(), {3}, id="latest"),
        pytest.param(LatestVersions(2), {2, 3}, id="latest-2"),
        pytest.param(AllVersions(), {1, 2, 3}, id="all"),
        pytest.param(SpecificVersions(frozenset({1, 7})), {1}, id="specific"),
    ],
)
def test_policy_selects(tmp_path: Path, policy: VersionPolicy, expected: set[int]) -> None:
    """A policy selects which of the versions on disk are served."""
    for name in ("1", "2", "3"):
        (tmp_path / name).mkdir()
    model = make_model(tmp_path, policy)
    model.refresh()
    assert available_versions(model) == expected


def test_missing_specific_version(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One warning names a policy's version that is not on disk, and another if it appears and disappears again."""
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
    model = Model(ModelConfig("m", tmp_path, SpecificVersions(frozenset({1, 7}))), LoadOptions(load_fake))
    for _ in range(2):
        model.refresh()
    assert caplog.messages == [f"model m waits for version 7 in {tmp_path}"]
    (tmp_path / "7").mkdir()
    model.refresh()
    (tmp_path / "7").rmdir()
    model.refresh()
    assert len(caplog.messages) == 2
