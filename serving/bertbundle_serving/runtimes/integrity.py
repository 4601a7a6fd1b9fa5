"""Check the files of a bundle against its manifest before it is served."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from bertbundle.contract.manifest import FileInfo
from bertbundle_serving.errors import ServeError

__all__ = ["check_digests", "check_sizes"]

_CHUNK = 1 << 20


def check_sizes(directory: Path, files: Mapping[str, FileInfo]) -> None:
    """Check that every file exists and has the size in the manifest.

    Raises:
        ServeError: a file is missing or has another size, for example because the version is being copied.
    """
    for name, info in sorted(files.items()):
        path = _resolve(directory, name)
        if not path.is_file():
            raise ServeError(f"{name} is in bundle.json but not in {directory}. Copy the bundle again.")
        size = path.stat().st_size
        if size != info.size:
            raise ServeError(f"{name} has {size} bytes, bundle.json says {info.size}. Copy the bundle again.")


def check_digests(directory: Path, files: Mapping[str, FileInfo]) -> None:
    """Check the SHA-256 digest of every file.

    Raises:
        ServeError: a digest does not match: the file was damaged or changed after the export.
    """
    for name, info in sorted(files.items()):
        digest = _sha256(_resolve(directory, name))
        if digest != info.sha256:
            raise ServeError(
                f"{name} has SHA-256 {digest[:12]}..., bundle.json says {info.sha256[:12]}...: changed or damaged "
                "after the export. Export or copy the bundle again."
            )


def _resolve(directory: Path, name: str) -> Path:
    """Return the path of a file in the manifest, which must not point outside of the bundle."""
    path = directory / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ServeError(f"bundle.json names {name!r}, a path outside the bundle. Export again.")
    return path


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
