"""The servers that must agree: the embedded one with each runtime, and a real TensorFlow Serving where there is one."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from local_server import serving

BINARY = "TENSORFLOW_MODEL_SERVER"
RUNTIMES = ("onnx", "saved_model", "tensorflow_model_server")
START_SECONDS = 180

Serve = Callable[[Path], str]


@pytest.fixture(scope="session", params=RUNTIMES)
def serve(request: pytest.FixtureRequest) -> Iterator[Serve]:
    """Serve the model of a version directory under its own name, once a session; gives ``host:port``."""
    runtime: str = request.param
    if runtime == "tensorflow_model_server" and not os.environ.get(BINARY):
        pytest.skip(f"{BINARY} does not name a tensorflow_model_server binary")
    with contextlib.ExitStack() as stack:
        addresses: dict[Path, str] = {}

        def start(version: Path) -> str:
            base = version.parent
            if base not in addresses:
                addresses[base] = stack.enter_context(_server(runtime, base))
            return addresses[base]

        yield start


def _server(runtime: str, base: Path) -> contextlib.AbstractContextManager[str]:
    if runtime == "tensorflow_model_server":
        return _tensorflow_serving(base)
    return serving(model_name=base.name, model_base_path=base, runtime=runtime)


@contextlib.contextmanager
def _tensorflow_serving(base: Path) -> Iterator[str]:
    """Run the real binary on a free port until the model answers."""
    port = _free_port()
    command = [
        os.environ[BINARY],
        f"--port={port}",
        f"--model_name={base.name}",
        f"--model_base_path={base.resolve()}",
        "--grpc_max_threads=64",
    ]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "1"})
        try:
            _wait_until_available(process, f"127.0.0.1:{port}", base.name, log)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _wait_until_available(process: subprocess.Popen[bytes], address: str, model: str, log: object) -> None:
    from bertbundle import Client, ServerError

    deadline = time.monotonic() + START_SECONDS
    with Client(address, model, timeout=5) as client:
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(ServerError):
                if any(status.state == "AVAILABLE" for status in client.status()):
                    return
            time.sleep(0.2)
    log.seek(0)  # type: ignore[attr-defined]
    said = log.read().decode(errors="replace")[-3000:]  # type: ignore[attr-defined]
    pytest.fail(f"{BINARY} did not make {model} available within {START_SECONDS} s:\n{said}")


@pytest.fixture(scope="session")
def channel(serve: Serve, minilm: Path) -> Iterator[grpc.Channel]:
    """Give a channel to a server of the MiniLM bundle, for the official stubs."""
    with grpc.insecure_channel(serve(minilm)) as opened:
        yield opened
