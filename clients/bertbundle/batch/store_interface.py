"""What a store of files is, and what all stores use."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn, Protocol

from bertbundle.errors import InputError

__all__ = ["URI", "FileInfo", "Store", "checked", "is_hidden", "refuse_globbed"]

URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/]*)/?(.*)", re.DOTALL)
"""Scheme, authority and path of a URI; the path is not parsed further, as a file may have any name."""


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file: its path or URI, its size in bytes, and when it was changed, in ns since 1970."""

    path: str
    size: int
    changed: int


class Store(Protocol):
    """Files by path or URI. All methods raise InputError if the store cannot be used."""

    def find(self, pattern: str) -> list[FileInfo]:
        """Return the files in a directory, those that match a glob, or the one file, in the order of their paths."""

    def names(self, directory: str) -> set[str]:
        """Return the names of what is in a directory, without its subdirectories' content; none if it is absent."""

    def open(self, path: str) -> IO[bytes]:
        """Open a file to read; it can seek."""

    def write(self, path: str, data: bytes) -> None:
        """Write a file in one step."""

    def create(self, path: str, data: bytes) -> bool:
        """Write a file unless it exists, and return whether it did not; of several processes one creates it.

        Stores that cannot do so look for the file before they write it.
        """

    def scratch(self, directory: str) -> contextlib.AbstractContextManager[Path]:
        """Return a local path for a file that `publish` moves into the directory; deleted at the end."""

    def sweep(self, directory: str, seconds: float) -> None:
        """Delete what killed processes have left in a directory: files that were not written to for some seconds."""

    def publish(self, local: Path, path: str) -> None:
        """Move a complete local file to its path, in one step."""

    def delete(self, path: str) -> None:
        """Delete a file."""


def is_hidden(path: str, base: str) -> bool:
    """Return whether a part of a path below `base` starts with ``_`` or ``.``: such files are no data, as in Spark."""
    return any(part.startswith(("_", ".")) for part in path[len(base) :].strip("/").split("/"))


def refuse_globbed(pattern: str, directory: str) -> NoReturn:
    """Raise InputError for a directory that a glob matches: its files would be left out silently."""
    raise InputError(
        f"{pattern} matches the directory {directory}. Pass the directory itself, or a glob that matches files only, "
        f"such as {pattern.rpartition('/')[0]}/*.jsonl, or {pattern.rstrip('/')}/* for the files in it."
    )


@contextlib.contextmanager
def checked(path: str) -> Iterator[None]:
    """Raise what a store raises as InputError: an OSError, or pyarrow's ArrowInvalid and ArrowNotImplementedError."""
    try:
        yield
    except (OSError, ValueError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise InputError(f"{path} cannot be used: {reason}.") from error
