"""The servers that must agree: the embedded one with each runtime, and a real TensorFlow Serving where there is one."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import grpc
import pytest

from local_server import serving

BINARY = "TENSORFLOW_MODEL_SERVER"
RUNTIMES = ("onnx", "saved_model", "tensorflow_model_server")
START_SECONDS = 180

Serve = Callable[[Path], str]


@pytest.fixture(scope="session", params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    """Name what serves."""
    name: str = request.param
    if name == "tensorflow_model_server" and not os.environ.get(BINARY):
        pytest.skip(f"{BINARY} does not name a tensorflow_model_server binary")
    return name


@pytest.fixture(scope="session")
def serve(runtime: str) -> Iterator[Serve]:
    """Serve the model of a version directory under its own name, once a session; gives ``host:port``."""
    with contextlib.ExitStack() as stack:
        addresses: dict[Path, str] = {}

        def start(version: Path) -> str:
            base = version.parent
            if base not in addresses:
                addresses[base] = stack.enter_context(_server(runtime, base))
            return addresses[base]

        yield start


# Where the REST API of a server is, by the address of its gRPC.
REST: dict[str, str] = {}


@contextlib.contextmanager
def _server(runtime: str, base: Path, **flags: object) -> Iterator[str]:
    """Run a server of one model, whose version 1 has the label blessed, with REST and metrics."""
    with tempfile.TemporaryDirectory() as scratch:
        files = {"model_config_file": MODELS % (base.name, base.resolve()), "monitoring_config_file": MONITORING}
        for name, text in files.items():
            (Path(scratch) / name).write_text(text)
        flags = {name: Path(scratch) / name for name in files} | {"rest_api_port": _free_port()} | flags
        real = runtime == "tensorflow_model_server"
        started = _tensorflow_serving(base, flags) if real else serving(runtime=runtime, **flags)
        with started as address:
            REST[address] = f"http://127.0.0.1:{flags['rest_api_port']}"
            yield address


MODELS = (
    'model_config_list { config { name: "%s" base_path: "%s" model_platform: "tensorflow" '
    'version_labels { key: "blessed" value: 1 } } }'
)
MONITORING = 'prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }'


@pytest.fixture(scope="session")
def rest(serve: Serve, minilm: Path) -> str:
    """Give the root of the REST API of the MiniLM server."""
    return REST[serve(minilm)]


@pytest.fixture(scope="session")
def batching_channel(runtime: str, minilm: Path) -> Iterator[grpc.Channel]:
    """Give a channel to a server that takes at most 8 rows per request."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "batching.config"
        path.write_text("max_batch_size { value: 8 } max_enqueued_batches { value: 4 }")
        flags = {"enable_batching": "true", "batching_parameters_file": path}
        with _server(runtime, minilm.parent, **flags) as address, grpc.insecure_channel(address) as opened:
            yield opened


@contextlib.contextmanager
def _tensorflow_serving(base: Path, flags: Mapping[str, object]) -> Iterator[str]:
    """Run the real binary on a free port until the model answers."""
    port = _free_port()
    options = [f"--{name}={value}" for name, value in flags.items()]
    command = [os.environ[BINARY], f"--port={port}", "--grpc_max_threads=64", *options]
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
