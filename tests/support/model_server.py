"""Run a real tensorflow_model_server for tests, if TENSORFLOW_MODEL_SERVER names one."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from bertbundle import Client, ServerError
from bertbundle_serving.errors import ServeError

__all__ = ["BINARY", "Addresses", "free_port", "model_server"]

BINARY = "TENSORFLOW_MODEL_SERVER"
"""The environment variable that names the binary."""


class Addresses(NamedTuple):
    """Where a server of one model listens: ``host:port`` of gRPC, and the URL of the model up to its method."""

    grpc: str
    rest: str


_START_SECONDS = 180
_STOP_SECONDS = 30


@contextlib.contextmanager
def model_server(model_name: str, **flags: object) -> Iterator[str]:
    """Run the binary on a free port within the context; yields its ``host:port`` once a model is available.

    The server listens when its models are loaded, for REST a moment later than for gRPC; this function waits for both.

    Args:
        model_name: the model to wait for; also passed as a flag unless there is a ``model_config_file``.
        **flags: the server's flags.

    Raises:
        ServeError: the model did not become available; the message ends with the end of the server's log.
    """
    rest_port = flags.get("rest_api_port")
    address = f"127.0.0.1:{free_port(other_than=rest_port)}"
    all_flags = flags if "model_config_file" in flags else {"model_name": model_name, **flags}
    # The server refuses relative paths of models.
    absolute = {name: value.resolve() if isinstance(value, Path) else value for name, value in all_flags.items()}
    options = [f"--{name}={value}" for name, value in absolute.items()]
    command = [os.environ[BINARY], f"--port={address.rpartition(':')[2]}", "--grpc_max_threads=64", *options]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        # The binary may be a script that starts the server: all processes of its session are ended.
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "1"}
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        try:
            if not _starts(process, lambda: _available(address, model_name) and (not rest_port or _open(rest_port))):
                raise ServeError(
                    f"{BINARY} did not make {model_name} available within {_START_SECONDS} s:\n{_end_of(log)}"
                )
            yield address
        finally:
            if process.poll() is not None:
                print(f"{BINARY} exited with {process.returncode}:\n{_end_of(log)}")
            _stop(process)


def _end_of(log: IO[str]) -> str:
    log.seek(0)
    return log.read()[-3000:]


def _stop(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def free_port(*, other_than: object = None) -> int:
    """Return an unused port that differs from `other_than`."""
    port = other_than
    while port == other_than:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
    return int(str(port))


def _starts(process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if ready():
            return True
        time.sleep(0.2)
    return False


def _available(address: str, model: str) -> bool:
    """Return whether a version is AVAILABLE. Each check opens a new connection, to avoid the backoff of an old one."""
    with contextlib.suppress(ServerError), Client(address, model, timeout=5) as client:
        return any(status.state == "AVAILABLE" for status in client.status())
    return False


def _open(port: object) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(str(port))), 5):
        return True
    return False
