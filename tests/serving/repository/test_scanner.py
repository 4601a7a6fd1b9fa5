"""The scanner finds the version directories under a base path."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertbundle_serving.repository.scanner import VersionScanner
from fake_versions import make_model, version_states


def test_other_names_are_ignored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A directory whose name is not a version number is ignored with one warning."""
    for name in ("draft", ".2.part", "-1", "1.5", "٣", "99999999999999999999"):
        (tmp_path / name).mkdir()
    (tmp_path / "7").write_text("a file")
    model = make_model(tmp_path)
    model.refresh()
    model.refresh()
    assert version_states(model) == {}
    assert caplog.text.count("draft") == 1
    assert "rename it" in caplog.text
    assert ".2.part" not in caplog.text
    assert caplog.text.count("model m waits for a version") == 1


def test_duplicate_numbers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If two directories have the same number, one is used and a warning names the other."""
    for name in ("007", "7"):
        (tmp_path / name).mkdir()
    assert VersionScanner(tmp_path).versions() == {7: tmp_path / "7"}
    assert f"ignored {tmp_path / '007'}: another directory has the same number" in caplog.text


def test_directory_of_models(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A directory with versions of its own is a model: the warning says to pass it as the base path."""
    (tmp_path / "bert" / "1").mkdir(parents=True)
    assert VersionScanner(tmp_path).versions() == {}
    assert (
        f"ignored {tmp_path / 'bert'}: it has versions of its own: to serve it, pass it as the base path" in caplog.text
    )
