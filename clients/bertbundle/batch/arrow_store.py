"""Files of a store such as S3, through pyarrow or fsspec."""

from __future__ import annotations

import contextlib
import io
import mmap
import re
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any

from bertbundle.batch.store_interface import URI, FileInfo, checked, is_hidden, refuse_globbed
from bertbundle.errors import InputError

__all__ = ["ArrowStore"]

_WILDCARD = re.compile(r"[*?\[]")
_OF_ARROW = ("s3", "gs")
"""Stores that pyarrow reaches itself; others are fsspec's."""
_WITH_BUCKETS = ("s3", "gcs")
"""The names of pyarrow's file systems whose paths begin with a bucket, and that have no directories."""


class ArrowStore:
    """Files of a store that pyarrow reaches itself (s3, gs), or through fsspec (others)."""

    def find(self, pattern: str) -> list[FileInfo]:
        """See `Store`."""
        fs = _import_fs(pattern)
        wildcard = _WILDCARD.search(pattern, pattern.find("/", pattern.index("://") + 3))  # a bucket has none
        if "**" in pattern:
            raise InputError(f"{pattern} has **. Pass the directory: its subdirectories are read, too.")
        base = pattern[: wildcard.start()].rpartition("/")[0] if wildcard else pattern.rstrip("/")
        with checked(pattern):
            system, exact = _resolve(pattern)
            (info,) = system.get_file_info([exact])
            if info.is_file:
                return [FileInfo(pattern, info.size, info.mtime_ns or 0)]
            recursive = not wildcard or "/" in pattern[len(base) + 1 :]
            path = _resolve(base)[1]
            selector = fs.FileSelector(path, allow_not_found=True, recursive=recursive)
            inner = system.get_file_info(selector)
        if not inner:
            _check_bucket(system, pattern, path)
        # Only what follows the base is taken from the store: its own paths lack the host, and some begin with a slash.
        start = len(path.strip("/"))
        found = [(base + each.path.strip("/")[start:], each) for each in inner]
        chosen = _globbed(found, pattern) if wildcard else [item for item in found if not is_hidden(item[0], base)]
        files = [FileInfo(name, each.size, each.mtime_ns or 0) for name, each in chosen if each.is_file]
        return sorted(files, key=lambda file: file.path)

    def open(self, path: str) -> IO[bytes]:
        """See `Store`."""
        with checked(path):
            system, inner = _resolve(path)
            return io.BufferedReader(system.open_input_file(inner), 1 << 20)

    def write(self, path: str, data: bytes) -> None:
        """See `Store`."""
        with checked(path):
            system, inner = _resolve(path)
            if system.type_name not in _WITH_BUCKETS:
                system.create_dir(inner.rpartition("/")[0], recursive=True)
            with system.open_output_stream(inner) as file:
                file.write(data)

    def create(self, path: str, data: bytes) -> bool:
        """See `Store`."""
        if self.find(path):
            return False
        self.write(path, data)
        return True

    @contextlib.contextmanager
    def scratch(self, directory: str) -> Iterator[Path]:
        """See `Store`."""
        del directory
        with tempfile.TemporaryDirectory(prefix="bertbundle-") as folder:
            yield Path(folder) / "part"

    def names(self, directory: str) -> set[str]:
        """See `Store`."""
        fs = _import_fs(directory)
        with checked(directory):
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
        with checked(path):
            system, inner = _resolve(path)
            (info,) = system.get_file_info([inner])
            if info.is_file:
                system.delete_file(inner)
            elif info.type.name == "Directory":
                system.delete_dir(inner)


def _globbed(found: list[tuple[str, Any]], pattern: str) -> list[tuple[str, Any]]:
    """Return what matches, of pairs of a URI and what pyarrow knows of it.

    Raises:
        InputError: a directory matches.
    """
    matching = [(name, each) for name, each in found if _matches(name, pattern)]
    for name, each in matching:
        if not each.is_file and not is_hidden(each.base_name, ""):
            refuse_globbed(pattern, name)
    return matching


def _matches(path: str, pattern: str) -> bool:
    """Return whether a path matches a glob whose wildcards do not match a slash."""
    return path.count("/") == pattern.count("/") and fnmatchcase(path, pattern)


def _check_bucket(system: Any, pattern: str, path: str) -> None:
    """Check that a bucket without files exists: one request, which a store may refuse to those who may only read.

    Raises:
        InputError: it does not exist.
    """
    bucket = path.partition("/")[0]
    if system.type_name in _WITH_BUCKETS:
        with contextlib.suppress(OSError):
            if system.get_file_info(bucket).type.name == "NotFound":
                raise InputError(f"{pattern}: the bucket {bucket} does not exist.")


def _import_fs(uri: str) -> Any:
    """Return pyarrow's module of file systems.

    Raises:
        InputError: pyarrow is not installed.
    """
    try:
        from pyarrow import fs
    except ImportError as error:
        scheme = uri.partition("://")[0]
        raise InputError(f"{uri}: {scheme}:// needs pyarrow: pip install 'bertbundle[parquet]'.") from error
    return fs


def _resolve(uri: str) -> tuple[Any, str]:
    """Return the file system of a URI, and the path there. Only the part before the path is parsed as a URI."""
    fs = _import_fs(uri)
    scheme, authority, path = URI.fullmatch(uri).groups()  # type: ignore[union-attr] # open_store has matched it
    root = f"{scheme.lower()}://{authority}"
    try:
        if scheme.lower() in _OF_ARROW:
            system, base = fs.FileSystem.from_uri(root)
        else:
            from fsspec.core import url_to_fs

            inner, base = url_to_fs(root)
            system = fs.PyFileSystem(fs.FSSpecHandler(inner))
    except (ImportError, ValueError) as error:
        raise InputError(f"{root} cannot be used: {error}. pyarrow reaches s3:// and gs://, fsspec others.") from error
    return system, f"{base.rstrip('/')}/{path}".rstrip("/")
