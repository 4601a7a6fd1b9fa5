"""Publish a bundle: it is written to a staging directory, then renamed, so a server sees a complete version or none."""

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
from bertbundle_export.unicode import check_unicode

__all__ = ["check_target", "digest_files", "publish", "staging_directory"]

_MODEL_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


def check_target(output: Path, name: str, version: int | None) -> None:
    """Check the target of an export before any work is done.

    Raises:
        ExportError: the name is not a valid directory name, the path is not valid UTF-8, the version exists already, or
            a directory of the path is a file.
    """
    check_unicode(output.absolute(), "the output directory", error=ExportError)
    if not _MODEL_NAME.fullmatch(name):
        raise ExportError(f"{name!r} is not a valid model name: use letters, digits, '_', '-' and '.'.")
    if version is not None and version < 1:
        raise ExportError(f"version {version} is not valid: versions are numbers from 1.")
    for directory in (output, output / name):
        if directory.exists() and not directory.is_dir():
            raise ExportError(f"{directory} is a file, expected a directory. Choose another --output or --name.")
    if version is not None and (output / name / str(version)).exists():
        raise ExportError(
            f"{output / name / str(version)} exists already. Leave --version out to use the next free one."
        )


@contextmanager
def staging_directory(output: Path) -> Iterator[Path]:
    """Make a temporary directory beside the models, on the same file system, and remove it at the end.

    Raises:
        ExportError: the output directory is not writable.
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
    """Return size and SHA-256 of every file by relative path, except the manifest and its copy in assets."""
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path.name != MANIFEST_FILE)
    return {path.relative_to(directory).as_posix(): _file_info(path) for path in files}


def _file_info(path: Path) -> FileInfo:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return FileInfo(path.stat().st_size, digest.hexdigest())


def publish(staged: Path, output: Path, name: str, version: int | None) -> Path:
    """Rename a finished bundle to ``output/name/version``.

    Args:
        staged: directory of the finished bundle, on the same file system.
        output: directory of the models.
        name: model name.
        version: version number; None for the highest existing version plus 1.

    Returns:
        The version directory.

    Raises:
        ExportError: the version exists, because another export created it meanwhile.
    """
    base = output / name
    base.mkdir(parents=True, exist_ok=True)
    staged.chmod(0o755)  # mkdtemp's 0700 would lock out a server that runs as another user
    while True:
        target = base / str(version or _next_version(base))
        try:
            return staged.rename(target)
        except OSError as error:
            if version is not None or not target.exists():
                raise ExportError(f"cannot move the bundle to {target}: {error.strerror}.") from error


def _next_version(base: Path) -> int:
    return max((int(path.name) for path in base.iterdir() if path.name.isdecimal()), default=0) + 1
