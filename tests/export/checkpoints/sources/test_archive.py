"""Archives: read like the directory that they contain, removed afterwards, and refused if dangerous."""

from __future__ import annotations

import io
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bertbundle_export.checkpoints.sources.archive import unpacked
from bertbundle_export.checkpoints.sources.hub import open_source
from bertbundle_export.errors import CheckpointError

FORMATS = {".zip": "zip", ".tar.gz": "gztar", ".tar": "tar"}


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory in which temporary directories are created."""
    directory = tmp_path / "scratch"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return directory


def content(root: Path) -> Path:
    """Write a directory with a nested one; return it."""
    (root / "outer/model/1_Pooling").mkdir(parents=True)
    (root / "outer/model/vocab.txt").write_text("a\n", encoding="utf-8")
    (root / "outer/model/1_Pooling/config.json").write_text("{}", encoding="utf-8")
    return root / "outer"


def add_tar(path: Path, *items: tuple[tarfile.TarInfo, bytes]) -> Path:
    """Write a .tar.gz of members; return its path."""
    with tarfile.open(path, "w:gz") as archive:
        for info, data in items:
            info.size = len(data) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(data))
    return path


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    """Return the archive member of a link."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zip_link(path: Path) -> Path:
    """Write a .zip with a symbolic link; return its path."""
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    return path


def zip_of(path: Path, name: str, data: bytes = b"x") -> Path:
    """Write a .zip with one file; return its path."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return path


@pytest.mark.parametrize("suffix", [*FORMATS, ".tgz"])
def test_archive_is_read_as_its_directory(tmp_path: Path, scratch: Path, suffix: str) -> None:
    """An archive of one directory is read as that directory, and removed afterwards."""
    archive = shutil.make_archive(str(tmp_path / "archive"), FORMATS.get(suffix, "gztar"), content(tmp_path))
    path = Path(archive).rename(tmp_path / f"model-1.0{suffix}")
    with open_source(path) as directory:
        assert sorted(item.relative_to(directory).as_posix() for item in directory.rglob("*")) == [
            "1_Pooling",
            "1_Pooling/config.json",
            "vocab.txt",
        ]
        assert directory.is_relative_to(scratch)
    assert not any(scratch.iterdir())


def test_nothing_stays_after_an_error(tmp_path: Path, scratch: Path) -> None:
    """The unpacked files are removed when reading them fails, too."""
    path = zip_of(tmp_path / "x.zip", "a.txt")
    with pytest.raises(KeyError), unpacked(path):
        raise KeyError
    assert not any(scratch.iterdir())


def test_other_paths_are_unchanged(tmp_path: Path) -> None:
    """A directory of any name, and a file that is not an archive, are not changed."""
    directory, file = tmp_path / "model.zip", tmp_path / "model.h5"
    directory.mkdir()
    file.write_bytes(b"x")
    for path in (directory, file):
        with unpacked(path) as found:
            assert found == path


OUTSIDE = {
    "zip_slip": lambda path: zip_of(path / "x.zip", "../evil.txt"),
    "zip_absolute": lambda path: zip_of(path / "x.zip", "/evil.txt"),
    "zip_backslash": lambda path: zip_of(path / "x.zip", "a\\..\\..\\evil.txt"),
    "tar_slip": lambda path: add_tar(path / "x.tgz", (tarfile.TarInfo("model/../../evil.txt"), b"x")),
    "tar_absolute": lambda path: add_tar(path / "x.tgz", (tarfile.TarInfo(f"{path}/evil.txt"), b"x")),
}


SPECIAL = {
    "zip_link": lambda path: zip_link(path / "x.zip"),
    "tar_link": lambda path: add_tar(path / "x.tgz", (link("model", "/etc"), b""), (tarfile.TarInfo("model/a"), b"x")),
    "tar_hard_link": lambda path: add_tar(path / "x.tgz", (link("a", "/etc/passwd", tarfile.LNKTYPE), b"")),
    "tar_device": lambda path: add_tar(path / "x.tgz", (link("a", "", tarfile.CHRTYPE), b"")),
}


DAMAGED = {
    "zip_cut": lambda path: _cut(zip_of(path / "x.zip", "a.txt", bytes(range(256)) * 9)),
    "zip_flipped": lambda path: _flip(zip_of(path / "x.zip", "a.txt", bytes(range(256)))),
    "tar_cut": lambda path: _cut(add_tar(path / "x.tgz", (tarfile.TarInfo("a"), bytes(range(256)) * 9))),
    "tar_flipped": lambda path: _flip(add_tar(path / "x.tgz", (tarfile.TarInfo("a"), bytes(range(256)) * 9))),
    "no_archive": lambda path: _write(path / "x.zip", b"no archive"),
    "empty": lambda path: _write(path / "x.tgz", b""),
}


TOO_LARGE = {
    "zip_bomb": lambda path: zip_of(path / "x.zip", "a.txt", bytes(10_000_000)),
    "tar_bomb": lambda path: add_tar(path / "x.tgz", (tarfile.TarInfo("a"), bytes(10_000_000))),
}


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _cut(path: Path) -> Path:
    return _write(path, path.read_bytes()[:-40])


def _flip(path: Path) -> Path:
    data = path.read_bytes()
    return _write(path, data[:90] + bytes([data[90] ^ 255]) + data[91:])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        *(pytest.param(make, "is a path that leads out of it", id=name) for name, make in OUTSIDE.items()),
        *(pytest.param(make, "is neither a file nor a directory", id=name) for name, make in SPECIAL.items()),
        *(pytest.param(make, "cannot be unpacked", id=name) for name, make in DAMAGED.items()),
        *(pytest.param(make, "too large: it unpacks to over 100 times", id=name) for name, make in TOO_LARGE.items()),
    ],
)
def test_refused(tmp_path: Path, scratch: Path, make: Callable[[Path], Path], message: str) -> None:
    """Paths outside the archive, special files, damage and implausible sizes are refused, and leave no files."""
    path = make(tmp_path)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(CheckpointError, match=f"{path.name}.*{message}"), open_source(path):
        pass
    assert set(tmp_path.rglob("*")) == before
    assert not any(scratch.iterdir())


def test_empty_archive(tmp_path: Path, scratch: Path) -> None:
    """The message about an empty archive names the archive, not the temporary directory."""
    path = add_tar(tmp_path / "x.tgz")
    with pytest.raises(CheckpointError, match=r"x\.tgz is an empty archive") as refused, unpacked(path):
        pass
    assert str(scratch) not in str(refused.value)


@pytest.mark.parametrize("name", ["x.tar.bz2", "x.7z"])
def test_other_archives(tmp_path: Path, name: str) -> None:
    """The message about an unsupported kind of archive lists the supported kinds."""
    (tmp_path / name).write_bytes(b"any")
    with pytest.raises(CheckpointError, match=r"unsupported kind\. Give \.zip, \.tar\.gz"), unpacked(tmp_path / name):
        pass
