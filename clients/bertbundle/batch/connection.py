"""How a worker reaches a model: a bundle in its own process, or a server. A process opens one client, on first use."""

from __future__ import annotations

import hashlib
import math
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertbundle._shared.cores import available_cores
from bertbundle.client.sync_client import Client
from bertbundle.contract.manifest import Manifest
from bertbundle.errors import InputError
from bertbundle.session.retries import Retries
from bertbundle.transports.credentials import Tls, Token
from bertbundle.transports.local import version_directory

__all__ = ["BundleIdentity", "Connection"]

MAX_LOCAL_CALLS = 8
"""Calls of a process at once. Each holds the activations of 32 rows: 1.4 GB for a BERT-base of 512 tokens."""

_OPENING = threading.Lock()


@dataclass(frozen=True, slots=True)
class BundleIdentity:
    """What tells a version of a model from others.

    Attributes:
        name: name in the manifest.
        version: version number.
        digest: SHA-256 of the manifest, which lists the digests of the other files.
    """

    name: str
    version: int
    digest: str

    def __str__(self) -> str:
        return f"version {self.version} of {self.name!r} (manifest {self.digest[:12]})"


@dataclass(frozen=True, slots=True)
class Connection:
    """The settings of a client; hashable and picklable.

    Attributes:
        bundle: directory of a bundle or of its version, to run in the process; None to ask `server`.
        server, model, version, concurrency, hedge_after, tls, token: as for `Client`.
        threads: number of threads that compute, for a bundle in the process; None for one per core. Up to 8 calls are
            computed at once: one per thread, or with more threads the same number for each.
        timeout: timeout in seconds of each 2048 texts; in a process it is checked between calls of 32 rows.
    """

    bundle: str | None = None
    server: str | None = None
    model: str | None = None
    version: int | str | None = None
    threads: int | None = None
    timeout: float = 300.0
    concurrency: int = 4
    hedge_after: float | None = None
    tls: Tls | None = None
    token: Token | None = None

    def client(self) -> Client:
        """Return this process's client; a forked process opens another one.

        Raises:
            InputError: the bundle cannot be loaded.
        """
        key = self, os.getpid()
        with _OPENING:
            if key not in _CLIENTS:
                try:
                    _CLIENTS[key] = _open(self)
                except ValueError as error:  # an address
                    raise InputError(f"{error}.") from error
            return _CLIENTS[key]

    def close(self) -> None:
        """Close this process's client, if it has been opened; the next call opens another one."""
        with _OPENING:
            client = _CLIENTS.pop((self, os.getpid()), None)
        if client is not None:
            client.close()

    def identity(self) -> BundleIdentity:
        """Return what the model answers with.

        Raises:
            InputError: the bundle cannot be loaded.
            ServerError: the server did not answer.
        """
        client = self.client()
        manifest = client.manifest()
        digest = hashlib.sha256(manifest.to_json().encode()).hexdigest()
        return BundleIdentity(manifest.name, client.loaded_version or 0, digest)


_CLIENTS: dict[tuple[Connection, int], Client] = {}


def _open(connection: Connection) -> Client:
    settings: dict[str, Any] = {"timeout": connection.timeout, "version": connection.version}
    if connection.bundle is not None:
        _check_sizes(Path(connection.bundle))
        calls, threads = _divided(connection.threads or available_cores())
        return Client.local(connection.bundle, threads=threads, concurrency=calls, **settings)
    return Client(
        connection.server or "",
        connection.model or "",
        **settings,
        concurrency=connection.concurrency,
        hedge_after=connection.hedge_after,
        tls=connection.tls,
        token=connection.token,
        retries=Retries(first_pause=0.5, longest_pause=10.0),
    )


def _divided(threads: int) -> tuple[int, int]:
    """Return the number of calls at once and the threads of each: a core that computes alone waits for no other."""
    each = math.ceil(threads / MAX_LOCAL_CALLS)
    return threads // each, each


def _check_sizes(path: Path) -> None:
    """Check that a bundle was copied completely: only its manifest's sizes, as hashing takes seconds in each worker.

    Raises:
        InputError: a file is missing or has another size.
    """
    directory = version_directory(path)
    for name, info in Manifest.read(directory).files.items():
        file = directory / name
        if not file.is_file() or file.stat().st_size != info.size:
            found = f"{file.stat().st_size} bytes" if file.is_file() else "missing"
            raise InputError(f"{file} is {found}, expected {info.size} bytes. Copy the bundle again.")
