"""Where files are: a local directory, or a store with a URI such as ``s3://bucket/prefix``."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from bertbundle.batch.arrow_store import ArrowStore
from bertbundle.batch.store_interface import URI, FileInfo, Store, checked, is_hidden
from bertbundle.errors import InputError

__all__ = ["TEMPORARY", "LocalStore", "absolute", "open_store"]

TEMPORARY = ".bertbundle-"
"""Prefix of files that are being written."""


def open_store(location: str) -> Store:
    """Return the store of a path or URI.

    Raises:
        InputError: the kind of the store is unknown, or its package is not installed.
    """
    uri = URI.fullmatch(location)
    return ArrowStore() if uri and uri[1].lower() != "file" else LocalStore()


def absolute(location: str) -> str:
    """Return a path from the root, which names the same file for workers in other directories; a URI as it is.

    Raises:
        InputError: the location is empty, or has options of a store.
    """
    if not location:
        raise InputError("a path is empty. Pass the path of a directory, or a URI.")
    uri = URI.fullmatch(location)
    if not uri:
        return os.path.abspath(location)  # noqa: PTH100 - without following links
    if re.search(r"\?\w+=", location):
        raise InputError(f"{location} has options. Set them in the environment, such as AWS_ENDPOINT_URL.")
    return f"{uri[1].lower()}://{uri[2]}/{uri[3].rstrip('/')}"


class LocalStore:
    """Files of this machine, or of a file system that all workers mount."""

    def find(self, pattern: str) -> list[FileInfo]:
        """See `Store`."""
        path = _local(pattern)
        with checked(pattern):
            if path.is_dir():
                found = [file for file in _walk(path) if not is_hidden(str(file), str(path))]
            else:
                found = [path] if path.exists() else [Path(name) for name in glob.glob(str(path), recursive=True)]  # noqa: PTH207 - of an absolute path
            return [self._info(file) for file in sorted(found) if not file.is_dir()]

    def names(self, directory: str) -> set[str]:
        """See `Store`."""
        path = _local(directory)
        with checked(directory):
            return {file.name for file in path.iterdir()} if path.exists() else set()

    def _info(self, path: Path) -> FileInfo:
        with checked(str(path)):
            state = path.stat()
        return FileInfo(str(path), state.st_size, state.st_mtime_ns)

    def open(self, path: str) -> IO[bytes]:
        """See `Store`."""
        with checked(path):
            return _local(path).open("rb")

    def write(self, path: str, data: bytes) -> None:
        """See `Store`."""
        with checked(path), self.scratch(str(_local(path).parent)) as scratch:
            scratch.write_bytes(data)
            self.publish(scratch, path)

    def create(self, path: str, data: bytes) -> bool:
        """See `Store`."""
        target = _local(path)
        with checked(path), self.scratch(str(target.parent)) as scratch:
            scratch.write_bytes(data)
            try:
                os.link(scratch, target)
            except FileExistsError:
                return False
            except OSError:  # a file system without hard links
                if target.exists():
                    return False
                scratch.replace(target)
            return True

    @contextlib.contextmanager
    def scratch(self, directory: str) -> Iterator[Path]:
        """See `Store`."""
        path = _local(directory) / f"{TEMPORARY}{uuid.uuid4().hex}"
        with checked(directory):
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def sweep(self, directory: str, seconds: float) -> None:
        """See `Store`."""
        with checked(directory):
            for path in _local(directory).glob(f"{TEMPORARY}*"):
                with contextlib.suppress(FileNotFoundError):  # another run has published or deleted it
                    if time.time() - path.stat().st_mtime >= seconds:
                        path.unlink()

    def publish(self, local: Path, path: str) -> None:
        """See `Store`."""
        with checked(path):
            with local.open("rb") as file:
                os.fsync(file.fileno())
            _local(path).parent.mkdir(parents=True, exist_ok=True)
            local.replace(_local(path))

    def delete(self, path: str) -> None:
        """See `Store`."""
        with checked(path):
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
