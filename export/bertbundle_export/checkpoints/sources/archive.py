"""Unpack an archive for as long as it is read: only files and directories, inside it, of a size that can be."""

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
"""Weights hardly shrink, zeros (an optimizer's, at its start) a thousandfold; text about fivefold."""
_MAX_MEMBERS = 10_000
_OTHER_ARCHIVES = (".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".7z", ".rar")


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Give a path as it is, or for an archive (.zip, .tar.gz, .tgz, .tar) the directory that it holds, temporarily.

    Raises:
        CheckpointError: the archive is damaged, empty, of another kind, or has paths that lead out of it, links, or
            sizes that cannot be.
    """
    unpack = next((function for suffix, function in _UNPACK.items() if path.name.lower().endswith(suffix)), None)
    if path.is_file() and path.name.lower().endswith(_OTHER_ARCHIVES):
        raise CheckpointError(
            f"{path} is an archive of a kind that is not read. Give {', '.join(_UNPACK)}, or unpack it."
        )
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
                f"{path} cannot be unpacked: {error}. Fetch it again, or give its directory."
            ) from error
        if not any(target.rglob("*")):
            raise CheckpointError(f"{path} is an empty archive. Fetch it again, or give the model's directory.")
        yield _content(target)


def _unpack_zip(path: Path, target: Path) -> None:
    limit = _Limit(path)
    with zipfile.ZipFile(path) as archive:
        for item in archive.infolist():
            kind = stat.S_IFMT(item.external_attr >> 16)
            limit.check(item.filename, item.file_size, is_plain=kind in (0, stat.S_IFREG, stat.S_IFDIR))
            archive.extract(item, target)  # never writes more than file_size, and verifies the checksum


def _unpack_tar(path: Path, target: Path) -> None:
    limit = _Limit(path)
    with tarfile.open(path) as archive:
        for item in archive:
            limit.check(item.name, item.size, is_plain=item.isreg() or item.isdir())
            archive.extract(item, target, filter="data")
        while archive.fileobj and archive.fileobj.read(1 << 20):
            pass  # the checksum of gzip is at its end, after what tarfile reads


_UNPACK: dict[str, Callable[[Path, Path], None]] = {
    ".zip": _unpack_zip,
    ".tar.gz": _unpack_tar,
    ".tgz": _unpack_tar,
    ".tar": _unpack_tar,
}


class _Limit:
    """Refuses what no archive of a checkpoint has."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left = _MAX_RATIO * path.stat().st_size
        self._members = 0

    def check(self, name: str, size: int, *, is_plain: bool) -> None:
        place = PurePosixPath(name.replace("\\", "/"))
        self._left -= size
        self._members += 1
        wrong = {
            "a path that leads out of it": place.is_absolute() or ".." in place.parts,
            "neither a file nor a directory": not is_plain,
            f"over {_MAX_RATIO} times as large as it, unpacked": self._left < 0,
            f"one file more than {_MAX_MEMBERS}": self._members > _MAX_MEMBERS,
        }
        for text, is_wrong in wrong.items():
            if is_wrong:
                raise CheckpointError(f"{self._path} is refused: its {name!r} is {text}.")


def _content(directory: Path) -> Path:
    """Return the directory that an archive of one directory holds."""
    items = [item for item in directory.iterdir() if item.name != "__MACOSX" and not item.name.startswith(".")]
    return _content(items[0]) if len(items) == 1 and items[0].is_dir() else directory
