"""Publishing a bundle, and what is left if that fails."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from bertbundle_export import bundle
from bertbundle_export.errors import ExportError


def staged(tmp_path: Path) -> Path:
    """Write a finished bundle; return its directory."""
    directory = tmp_path / "staged"
    directory.mkdir()
    (directory / "file").write_text("content")
    return directory


def test_first_version_is_one(tmp_path: Path) -> None:
    """A model's first bundle is version 1."""
    assert bundle.publish(staged(tmp_path), tmp_path / "models", "ner", None) == tmp_path / "models/ner/1"


def test_next_version_is_one_more_than_the_highest(tmp_path: Path) -> None:
    """Gaps are not filled, numbers are compared as numbers, other directories are ignored."""
    for name in ("2", "10", "old", "3.bak"):
        (tmp_path / "models/ner" / name).mkdir(parents=True)
    assert bundle.publish(staged(tmp_path), tmp_path / "models", "ner", None).name == "11"


def test_given_version_is_never_replaced(tmp_path: Path) -> None:
    """A version that another export created meanwhile is not changed."""
    existing = tmp_path / "models/ner/4"
    existing.mkdir(parents=True)
    (existing / "other").write_text("other")
    with pytest.raises(ExportError, match="cannot move the bundle"):
        bundle.publish(staged(tmp_path), tmp_path / "models", "ner", 4)
    assert [path.name for path in existing.iterdir()] == ["other"]


def test_published_directory_is_readable_by_others(tmp_path: Path) -> None:
    """A server that runs as another user can read the bundle."""
    path = bundle.publish(staged(tmp_path), tmp_path / "models", "ner", None)
    assert path.stat().st_mode & 0o055 == 0o055


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        pytest.param("../ner", None, "is not a valid model name", id="escape"),
        pytest.param("", None, "is not a valid model name", id="empty"),
        pytest.param(".hidden", None, "is not a valid model name", id="hidden"),
        pytest.param("ner", 0, "versions are numbers from 1", id="zero"),
        pytest.param("ner", 7, "exists already", id="taken"),
        pytest.param("file", None, "is a file", id="file"),
    ],
)
def test_invalid_target(tmp_path: Path, name: str, version: int | None, message: str) -> None:
    """An invalid target is refused before any work is done."""
    (tmp_path / "ner/7").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match=message):
        bundle.check_target(tmp_path, name, version)


def _interrupted(staging: Path) -> None:
    (staging / "bundle").mkdir()
    raise KeyboardInterrupt


def test_staging_leaves_nothing_behind(tmp_path: Path) -> None:
    """The staging directory is removed after any failure."""
    with pytest.raises(KeyboardInterrupt), bundle.staging_directory(tmp_path) as staging:
        _interrupted(staging)
    assert list(tmp_path.iterdir()) == []


def test_staging_in_an_unwritable_directory(tmp_path: Path) -> None:
    """An output directory that is not writable raises one clear error."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="cannot write to"), bundle.staging_directory(tmp_path / "file" / "models"):
        pass


def test_digests_leave_out_the_manifest_only(tmp_path: Path) -> None:
    """Every file is listed with size and SHA-256, except bundle.json and its copy, which contain the list."""
    (tmp_path / "assets").mkdir()
    for name in ("bundle.json", "assets/bundle.json", "assets/tokenizer.json", "model.onnx"):
        (tmp_path / name).write_text(name)
    files = bundle.digest_files(tmp_path)
    assert sorted(files) == ["assets/tokenizer.json", "model.onnx"]
    assert files["model.onnx"].sha256 == hashlib.sha256(b"model.onnx").hexdigest()
    assert files["model.onnx"].size == 10
