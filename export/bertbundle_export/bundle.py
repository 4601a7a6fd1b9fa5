"""Put a bundle in its place: written aside, then renamed, so that a server sees a whole version or none."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bertbundle.contract.manifest import MANIFEST_FILE, FileInfo
from bertbundle_export.errors import ExportError

__all__ = ["check_target", "digest_files", "publish", "staging_directory"]

_MODEL_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


def check_target(output: Path, name: str, version: int | None) -> None:
    """Check where a bundle is to go, before any work is done.

    Raises:
        ExportError: a name that is no directory name, a version that is there already, or something in the way.
    """
    if not _MODEL_NAME.fullmatch(name):
        raise ExportError(f"{name!r} cannot be a model name: use letters, digits, '_', '-' and '.'.")
    if version is not None and version < 1:
        raise ExportError(f"version {version} cannot be: versions are numbers from 1.")
    for place in (output, output / name):
        if place.exists() and not place.is_dir():
            raise ExportError(f"{place} is a file, a directory is needed there. Choose another --output or --name.")
    if version is not None and (output / name / str(version)).exists():
        raise ExportError(
            f"{output / name / str(version)} is there already. Leave --version out for the next free one."
        )


@contextmanager
def staging_directory(output: Path) -> Iterator[Path]:
    """Make a directory beside the models, on the same file system; whatever happens, nothing of it stays.

    Raises:
        ExportError: the output directory cannot be written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        directory = Path(tempfile.mkdtemp(prefix=".bertbundle-export-", dir=output))
    except OSError as error:
        raise ExportError(f"cannot write to {output}: {error.strerror}. Choose another --output.") from error
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def digest_files(directory: Path) -> dict[str, FileInfo]:
    """Return size and SHA-256 of every file but the manifest and its copy under assets, by relative path."""
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path.name != MANIFEST_FILE)
    return {path.relative_to(directory).as_posix(): _info(path) for path in files}


def _info(path: Path) -> FileInfo:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return FileInfo(path.stat().st_size, digest.hexdigest())


def publish(staged: Path, output: Path, name: str, version: int | None) -> Path:
    """Rename a finished bundle to ``output/name/version``.

    Args:
        staged: the finished bundle, on the same file system.
        output: directory of the models.
        name: model name.
        version: version number; None for one more than the highest there is.

    Returns:
        The version directory.

    Raises:
        ExportError: the version appeared meanwhile.
    """
    base = output / name
    base.mkdir(parents=True, exist_ok=True)
    staged.chmod(0o755)  # mkdtemp's 0700 would keep a server under another user out
    while True:
        target = base / str(version or _next_version(base))
        try:
            return staged.rename(target)
        except OSError as error:
            if version is not None or not target.exists():
                raise ExportError(f"cannot move the bundle to {target}: {error.strerror}.") from error


def _next_version(base: Path) -> int:
    return max((int(path.name) for path in base.iterdir() if path.name.isdecimal()), default=0) + 1
