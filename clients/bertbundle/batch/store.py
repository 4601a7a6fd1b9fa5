"""Where files are: a local directory, or a store with a URI such as ``s3://bucket/prefix``."""

from __future__ import annotations

import contextlib
import glob
import io
import mmap
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any, Protocol

from bertbundle.data.row_files import import_pyarrow
from bertbundle.errors import InputError

__all__ = ["TEMPORARY", "FileInfo", "LocalStore", "Store", "absolute", "is_hidden", "open_store"]

TEMPORARY = ".bertbundle-"
"""Prefix of files that are being written."""
_WILDCARD = re.compile(r"[*?\[]")
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/]*)/?(.*)", re.DOTALL)
_OF_ARROW = ("s3", "gs")
"""Stores that pyarrow reaches itself; others are fsspec's."""


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

    def scratch(self, directory: str) -> contextlib.AbstractContextManager[Path]:
        """Return a local path for a file that `publish` moves into the directory; deleted at the end."""

    def sweep(self, directory: str, seconds: float) -> None:
        """Delete what killed processes have left in a directory: files that were not written to for some seconds."""

    def publish(self, local: Path, path: str) -> None:
        """Move a complete local file to its path, in one step."""

    def delete(self, path: str) -> None:
        """Delete a file."""


def open_store(location: str) -> Store:
    """Return the store of a path or URI.

    Raises:
        InputError: the kind of the store is unknown, or its package is not installed.
    """
    uri = _URI.fullmatch(location)
    return ArrowStore() if uri and uri[1].lower() != "file" else LocalStore()


def absolute(location: str) -> str:
    """Return a path from the root, which names the same file for workers in other directories; a URI as it is.

    Raises:
        InputError: the location is empty, or has options of a store.
    """
    if not location:
        raise InputError("a path is empty. Pass the path of a directory, or a URI.")
    uri = _URI.fullmatch(location)
    if not uri:
        return os.path.abspath(location)  # noqa: PTH100 - without following links
    if re.search(r"\?\w+=", location):
        raise InputError(f"{location} has options. Set them in the environment, such as AWS_ENDPOINT_URL.")
    return f"{uri[1].lower()}://{uri[2]}/{uri[3].rstrip('/')}"


def is_hidden(path: str, base: str) -> bool:
    """Return whether a part of a path below `base` starts with ``_`` or ``.``: such files are no data, as in Spark."""
    return any(part.startswith(("_", ".")) for part in path[len(base) :].strip("/").split("/"))


@contextlib.contextmanager
def _checked(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be used: {error.strerror or error}.") from error


class LocalStore:
    """Files of this machine, or of a file system that all workers mount."""

    def find(self, pattern: str) -> list[FileInfo]:
        """See `Store`."""
        path = _local(pattern)
        with _checked(pattern):
            if path.is_dir():
                found = [file for file in _walk(path) if not is_hidden(str(file), str(path))]
            else:
                found = [path] if path.exists() else [Path(name) for name in glob.glob(str(path), recursive=True)]  # noqa: PTH207 - of an absolute path
            return [self._info(file) for file in sorted(found) if not file.is_dir()]

    def names(self, directory: str) -> set[str]:
        """See `Store`."""
        path = _local(directory)
        with _checked(directory):
            return {file.name for file in path.iterdir()} if path.exists() else set()

    def _info(self, path: Path) -> FileInfo:
        with _checked(str(path)):
            state = path.stat()
        return FileInfo(str(path), state.st_size, state.st_mtime_ns)

    def open(self, path: str) -> IO[bytes]:
        """See `Store`."""
        with _checked(path):
            return _local(path).open("rb")

    def write(self, path: str, data: bytes) -> None:
        """See `Store`."""
        with _checked(path), self.scratch(str(_local(path).parent)) as scratch:
            scratch.write_bytes(data)
            self.publish(scratch, path)

    @contextlib.contextmanager
    def scratch(self, directory: str) -> Iterator[Path]:
        """See `Store`."""
        path = _local(directory) / f"{TEMPORARY}{uuid.uuid4().hex}"
        with _checked(directory):
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def sweep(self, directory: str, seconds: float) -> None:
        """See `Store`."""
        with _checked(directory):
            for path in _local(directory).glob(f"{TEMPORARY}*"):
                with contextlib.suppress(FileNotFoundError):  # another run has published or deleted it
                    if time.time() - path.stat().st_mtime >= seconds:
                        path.unlink()

    def publish(self, local: Path, path: str) -> None:
        """See `Store`."""
        with _checked(path):
            with local.open("rb") as file:
                os.fsync(file.fileno())
            _local(path).parent.mkdir(parents=True, exist_ok=True)
            local.replace(_local(path))

    def delete(self, path: str) -> None:
        """See `Store`."""
        with _checked(path):
            target = _local(path)
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)


def _walk(directory: Path) -> Iterator[Path]:
    """Yield the files below a directory, also those behind links. An unreadable directory is an error."""
    seen: set[str] = set()
    for folder, folders, files in os.walk(directory, onerror=_raise, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link to a directory that has been read, as one above it
            folders.clear()
            continue
        seen.add(real)
        yield from (Path(folder, name) for name in files)


def _raise(error: OSError) -> None:
    raise InputError(f"{error.filename} cannot be read: {error.strerror}.")


def _local(path: str) -> Path:
    return Path(path.removeprefix("file://"))


class ArrowStore:
    """Files of a store that pyarrow reaches itself (s3, gs), or through fsspec (others)."""

    def find(self, pattern: str) -> list[FileInfo]:
        """See `Store`."""
        from pyarrow import fs

        wildcard = _WILDCARD.search(pattern)
        if "**" in pattern:
            raise InputError(f"{pattern} has **. Pass the directory: its subdirectories are read, too.")
        base = pattern[: wildcard.start()].rpartition("/")[0] if wildcard else pattern.rstrip("/")
        with _checked(pattern):
            system, exact = _resolve(pattern)
            (info,) = system.get_file_info([exact])
            if info.is_file:
                return [FileInfo(pattern, info.size, info.mtime_ns or 0)]
            recursive = not wildcard or "/" in pattern[len(base) + 1 :]
            path = _resolve(base)[1]
            selector = fs.FileSelector(path, allow_not_found=True, recursive=recursive)
            inner = [each for each in system.get_file_info(selector) if each.is_file]
        # Only what follows the base is taken from the store: its own paths lack the host, and some begin with a slash.
        start = len(path.strip("/"))
        found = [FileInfo(base + each.path.strip("/")[start:], each.size, each.mtime_ns or 0) for each in inner]
        chosen = [
            file for file in found if (_matches(file.path, pattern) if wildcard else not is_hidden(file.path, base))
        ]
        return sorted(chosen, key=lambda file: file.path)

    def open(self, path: str) -> IO[bytes]:
        """See `Store`."""
        with _checked(path):
            system, inner = _resolve(path)
            return io.BufferedReader(system.open_input_file(inner), 1 << 20)

    def write(self, path: str, data: bytes) -> None:
        """See `Store`."""
        with _checked(path):
            system, inner = _resolve(path)
            if system.type_name not in ("s3", "gcs"):  # where there are no directories
                system.create_dir(inner.rpartition("/")[0], recursive=True)
            with system.open_output_stream(inner) as file:
                file.write(data)

    @contextlib.contextmanager
    def scratch(self, directory: str) -> Iterator[Path]:
        """See `Store`."""
        del directory
        with tempfile.TemporaryDirectory(prefix="bertbundle-") as folder:
            yield Path(folder) / "part"

    def names(self, directory: str) -> set[str]:
        """See `Store`."""
        from pyarrow import fs

        with _checked(directory):
            system, path = _resolve(directory)
            return {found.base_name for found in system.get_file_info(fs.FileSelector(path, allow_not_found=True))}

    def sweep(self, directory: str, seconds: float) -> None:
        """See `Store`: an object that is being written does not exist."""

    def publish(self, local: Path, path: str) -> None:
        """See `Store`: an object appears when its upload is complete."""
        with local.open("rb") as file:
            if not local.stat().st_size:
                self.write(path, b"")
                return
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                self.write(path, content)  # type: ignore[arg-type] # any buffer

    def delete(self, path: str) -> None:
        """See `Store`."""
        with _checked(path):
            system, inner = _resolve(path)
            (info,) = system.get_file_info([inner])
            if info.is_file:
                system.delete_file(inner)
            elif info.type.name == "Directory":
                system.delete_dir(inner)


def _matches(path: str, pattern: str) -> bool:
    """Return whether a path matches a glob whose wildcards do not match a slash."""
    return path.count("/") == pattern.count("/") and fnmatchcase(path, pattern)


def _resolve(uri: str) -> tuple[Any, str]:
    """Return the file system of a URI, and the path there. Only the part before the path is parsed as a URI."""
    pa, _ = import_pyarrow()
    from pyarrow import fs

    scheme, authority, path = _URI.fullmatch(uri).groups()  # type: ignore[union-attr] # open_store has matched it
    root = f"{scheme.lower()}://{authority}"
    try:
        if scheme.lower() in _OF_ARROW:
            system, base = fs.FileSystem.from_uri(root)
        else:
            from fsspec.core import url_to_fs

            inner, base = url_to_fs(root)
            system = fs.PyFileSystem(fs.FSSpecHandler(inner))
    except (ImportError, ValueError, pa.ArrowInvalid) as error:
        raise InputError(f"{root} cannot be used: {error}. pyarrow reaches s3:// and gs://, fsspec others.") from error
    return system, f"{base.rstrip('/')}/{path}".rstrip("/")
