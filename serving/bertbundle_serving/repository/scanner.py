"""Look at a model's base path: which versions are there, and did a broken one change."""

from __future__ import annotations

import logging
from pathlib import Path

__all__ = ["Fingerprint", "Scanner", "fingerprint"]

_logger = logging.getLogger(__name__)
_MAX_VERSION = 2**63 - 1  # versions are int64 on the wire

Fingerprint = frozenset[tuple[str, int, int]]
"""Path, size in bytes and modification time in nanoseconds of every file of a directory."""


def fingerprint(directory: Path) -> Fingerprint:
    """Return what tells one content of a directory from another without reading it; empty if it cannot be listed."""
    try:
        found = [(path, path.stat()) for path in directory.rglob("*")]
    except OSError:  # it is being written or deleted: the next poll sees more
        return frozenset()
    return frozenset((str(path), stat.st_size, stat.st_mtime_ns) for path, stat in found)


class Scanner:
    """Lists the versions under a base path, and says once what it ignores."""

    def __init__(self, base_path: Path) -> None:
        self._base_path = base_path
        self._told: set[str] = set()

    def versions(self) -> dict[int, Path]:
        """Return the version directories by number. Directories with other names are being written or are not meant.

        Raises:
            OSError: the base path cannot be listed.
        """
        directories = sorted(path for path in self._base_path.iterdir() if path.is_dir())
        numbered = {path: _number(path.name) for path in directories}
        named = [path for path, number in numbered.items() if number is None]
        self._tell(named, f"a version is a number up to {_MAX_VERSION}; rename it to one, for example 1")
        found = {number: path for path, number in numbered.items() if number is not None}
        # `7` and `007`: the last in order, and that is told, too.
        twice = [path for path, number in numbered.items() if number is not None and found[number] != path]
        self._tell(twice, "another directory has the same number; remove one")
        return found

    def _tell(self, ignored: list[Path], why: str) -> None:
        for path in ignored:
            # A leading dot marks what nobody should look at: temporary directories, mostly.
            if path.name not in self._told and not path.name.startswith("."):
                _logger.warning("ignored %s: %s", path, why)
                self._told.add(path.name)


def _number(name: str) -> int | None:
    if not (name.isascii() and name.isdigit()):
        return None
    number = int(name)
    return number if number <= _MAX_VERSION else None
