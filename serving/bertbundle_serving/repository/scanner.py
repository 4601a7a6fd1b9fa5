"""Scan a model's base path: which versions exist, and whether the files of a version changed."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

__all__ = ["Fingerprint", "VersionScanner", "fingerprint"]

_logger = logging.getLogger(__name__)
_MAX_VERSION = 2**63 - 1  # versions are int64 on the wire

Fingerprint = frozenset[tuple[str, int, int]]
"""Path, size in bytes and modification time in nanoseconds of every file in a directory."""


def fingerprint(directory: Path) -> Fingerprint:
    """Return a value that changes when a file in the directory changes; empty if the directory cannot be listed."""
    try:
        found = [(path, path.stat()) for path in directory.rglob("*")]
    except OSError:  # the directory is being written or deleted: the next poll sees the result
        return frozenset()
    return frozenset((str(path), stat.st_size, stat.st_mtime_ns) for path, stat in found)


class VersionScanner:
    """Lists the versions under a base path, and logs every directory that it ignores once."""

    def __init__(self, base_path: Path) -> None:
        self._base_path = base_path
        self._logged: set[str] = set()

    def versions(self) -> dict[int, Path]:
        """Return the version directories by number. A directory whose name is not a number is ignored.

        Raises:
            OSError: the base path cannot be listed.
        """
        directories = sorted(path for path in self._base_path.iterdir() if path.is_dir())
        numbers = {path: _parse_version(path.name) for path in directories}
        versions = {number: path for path, number in numbers.items() if number is not None}
        unnumbered = [path for path, number in numbers.items() if number is None]
        models = [path for path in unnumbered if _has_versions(path)]
        self._log_ignored(models, "it has versions of its own: to serve it, pass it as the base path")
        unnumbered = [path for path in unnumbered if path not in models]
        self._log_ignored(unnumbered, f"rename it to a version number up to {_MAX_VERSION}, for example 1")
        # `7` and `007` have the same number: the last in sorted order is used.
        duplicates = [path for path, number in numbers.items() if number is not None and versions[number] != path]
        self._log_ignored(duplicates, "another directory has the same number; remove one")
        return versions

    def _log_ignored(self, paths: Iterable[Path], reason: str) -> None:
        for path in paths:
            # Hidden directories are ignored silently: usually they are temporary directories of a copy or an export.
            if path.name not in self._logged and not path.name.startswith("."):
                _logger.warning("ignored %s: %s", path, reason)
                self._logged.add(path.name)


def _has_versions(directory: Path) -> bool:
    """Return whether a directory contains version directories; False if it cannot be listed."""
    try:
        return any(path.is_dir() and _parse_version(path.name) is not None for path in directory.iterdir())
    except OSError:
        return False


def _parse_version(name: str) -> int | None:
    if not (name.isascii() and name.isdigit()):
        return None
    number = int(name)
    return number if number <= _MAX_VERSION else None
