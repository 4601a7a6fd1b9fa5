"""Unpack an archive to a temporary directory, and reject paths outside of it, links, and implausible sizes."""

from __future__ import annotations

import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from bertbundle_export.errors import CheckpointError

__all__ = ["unpacked"]

_MAX_RATIO = 100
"""Allowed compression ratio: weights hardly shrink, and text about fivefold, but zeros a thousandfold."""
_MAX_MEMBERS = 10_000
_OTHER_ARCHIVES = (".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".7z", ".rar")


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Unpack an archive (.zip, .tar.gz, .tgz, .tar) and yield a temporary directory; yield other paths unchanged.

    Raises:
        CheckpointError: the archive is damaged, empty or of an unsupported kind, or has paths that lead out of it,
            links, or implausible sizes.
    """
    unpack = next((function for suffix, function in _UNPACK.items() if path.name.lower().endswith(suffix)), None)
    if path.is_file() and path.name.lower().endswith(_OTHER_ARCHIVES):
        raise CheckpointError(f"{path} is an archive of an unsupported kind. Give {', '.join(_UNPACK)}, or unpack it.")
    if unpack is None or not path.is_file():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="bertbundle-") as scratch:
        target = Path(scratch) / path.name.split(".")[0]
        target.mkdir()
        try:
            unpack(path, target)
        except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, RuntimeError) as error:
            raise CheckpointError(
                f"{path} cannot be unpacked: {error}. Download it again, or give its directory."
            ) from error
        if not any(target.rglob("*")):
            raise CheckpointError(f"{path} is an empty archive. Download it again, or give the model's directory.")
        yield _content(target)


def _unpack_zip(path: Path, target: Path) -> None:
    limits = _Limits(path)
    with zipfile.ZipFile(path) as archive:
        for item in archive.infolist():
            kind = stat.S_IFMT(item.external_attr >> 16)
            limits.check(item.filename, item.file_size, is_plain=kind in (0, stat.S_IFREG, stat.S_IFDIR))
            archive.extract(item, target)  # never writes more than file_size, and verifies the checksum


def _unpack_tar(path: Path, target: Path) -> None:
    limits = _Limits(path)
    with tarfile.open(path) as archive:
        for item in archive:
            limits.check(item.name, item.size, is_plain=item.isreg() or item.isdir())
            archive.extract(item, target, filter="data")
        while archive.fileobj and archive.fileobj.read(1 << 20):
            pass  # gzip verifies its checksum at the end of the file, which tarfile does not read


_UNPACK: dict[str, Callable[[Path, Path], None]] = {
    ".zip": _unpack_zip,
    ".tar.gz": _unpack_tar,
    ".tgz": _unpack_tar,
    ".tar": _unpack_tar,
}


class _Limits:
    """Limits of an archive: paths, kinds, sizes and number of its members."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._bytes_left = _MAX_RATIO * path.stat().st_size
        self._members = 0

    def check(self, name: str, size: int, *, is_plain: bool) -> None:
        member = PurePosixPath(name.replace("\\", "/"))
        self._bytes_left -= size
        self._members += 1
        wrong = {
            "a path that leads out of it": member.is_absolute() or ".." in member.parts,
            "neither a file nor a directory": not is_plain,
            f"too large: it unpacks to over {_MAX_RATIO} times the archive's size": self._bytes_left < 0,
            f"one of more than {_MAX_MEMBERS} files": self._members > _MAX_MEMBERS,
        }
        for text, is_wrong in wrong.items():
            if is_wrong:
                raise CheckpointError(f"{self._path} is refused: its member {name!r} is {text}.")


def _content(directory: Path) -> Path:
    """Return the innermost directory that contains everything: an archive often has a single directory."""
    items = [item for item in directory.iterdir() if item.name != "__MACOSX" and not item.name.startswith(".")]
    return _content(items[0]) if len(items) == 1 and items[0].is_dir() else directory
