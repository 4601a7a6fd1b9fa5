"""Where files are: a local directory, or a store with a URI such as ``s3://bucket/prefix``."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from bertbundle.batch.arrow_store import ArrowStore
from bertbundle.batch.store_interface import URI, FileInfo, Store, checked, is_hidden, refuse_globbed
from bertbundle.errors import InputError

__all__ = ["TEMPORARY", "LocalStore", "absolute", "open_store"]

TEMPORARY = ".bertbundle-"
"""Prefix of files that are being written."""


def open_store(location: str) -> Store:
    """Return the store of a path or URI. Its methods take what `absolute` returns."""
    uri = URI.fullmatch(location)
    return ArrowStore() if uri and uri[1].lower() != "file" else LocalStore()


def absolute(location: str) -> str:
    """Return a path from the root, which names the same file for workers in other directories; a URI as it is.

    A ``file:`` URI becomes a path, with its percent-encoding decoded (RFC 8089).

    Raises:
        InputError: the location is empty, has one slash after its scheme, a file of another host, no bucket, or options
            of a store.
    """
    if not location:
        raise InputError("a path is empty. Pass the path of a directory, or a URI.")
    if short := _ONE_SLASH.match(location):
        raise InputError(
            f"{location} has one slash after {short[1]}:, a URI has two. Write it as {_example(short[1].lower())}, or "
            f"./{location} for a path."
        )
    uri = URI.fullmatch(location)
    if not uri:
        return os.path.abspath(location)  # noqa: PTH100 - without following links
    if re.search(r"\?\w+=", location):
        raise InputError(f"{location} has options. Set them in the environment, such as AWS_ENDPOINT_URL.")
    scheme = uri[1].lower()
    if scheme == "file":
        return _path_of_uri(location, uri[2], uri[3])
    if not uri[2] and (scheme in _EXAMPLES or not uri[3].strip("/")):
        raise InputError(f"{location} has no bucket. Write it as {_example(scheme)}.")
    return f"{scheme}://{uri[2]}/{uri[3].rstrip('/')}"


def _path_of_uri(location: str, host: str, path: str) -> str:
    if host.lower() not in ("", "localhost"):
        raise InputError(f"{location} names a file of the host {host}. Write it as {_EXAMPLES['file']}.")
    return os.path.abspath(f"/{unquote(path, errors='surrogateescape')}")  # noqa: PTH100 - without following links


_ONE_SLASH = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/(?!/)")
"""The beginning of a URI as Hadoop prints it; a scheme of one letter is a drive of Windows."""
_EXAMPLES = {"file": "file:///directory", "s3": "s3://bucket/directory", "gs": "gs://bucket/directory"}


def _example(scheme: str) -> str:
    return _EXAMPLES.get(scheme, f"{scheme}://host/directory")


class LocalStore:
    """Files of this machine, or of a file system that all workers mount."""

    def find(self, pattern: str) -> list[FileInfo]:
        """See `Store`."""
        path = _local(pattern)
        with checked(pattern):
            found = _data_files(path) if path.is_dir() else [path] if path.exists() else _glob(pattern)
            return [self._info(file) for file in sorted(found)]

    def names(self, directory: str) -> set[str]:
        """See `Store`."""
        path = _local(directory)
        with checked(directory):
            return {file.name for file in path.iterdir()} if path.exists() else set()

    def _info(self, path: Path) -> FileInfo:
        with checked(str(path)):
            state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            kind = next((name for is_kind, name in _SPECIAL if is_kind(state.st_mode)), "no file")
            raise InputError(f"{path} is {kind}, expected a file. Pass a pipe as FILE, without --input.")
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


_SPECIAL = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode), "a device"),
)
"""What has a path, but neither a size nor a second reading."""


def _glob(pattern: str) -> list[Path]:
    """Return the files that match.

    Raises:
        InputError: a directory matches, and there are files in it that do not, as those of ``dir/*/*`` for ``dir/*``.
    """
    found = [Path(name) for name in glob.glob(pattern, recursive=True)]  # noqa: PTH207 - of an absolute path
    files = {path for path in found if not path.is_dir()}
    for path in found:
        if path not in files and not is_hidden(path.name, "") and not files.issuperset(_data_files(path)):
            refuse_globbed(pattern, str(path))
    return list(files)


def _data_files(directory: Path) -> list[Path]:
    """Return the files below a directory that are not hidden."""
    return [file for file in _walk(directory) if not is_hidden(str(file), str(directory))]


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
    return Path(path)
