"""The servers that must agree: the embedded one with each runtime, and a real TensorFlow Serving where there is one."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

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
        port, rest_port = _free_ports(2)
        # TensorFlow Serving assigns labels before it loads: without this flag a label keeps it from starting.
        flags = {"allow_version_labels_for_unavailable_models": "true", "rest_api_port": rest_port} | flags
        flags |= {name: Path(scratch) / name for name in files}
        real = runtime == "tensorflow_model_server"
        started = _tensorflow_serving(base, port, flags) if real else serving(runtime=runtime, **flags)
        with started as address:
            REST[address] = f"http://127.0.0.1:{rest_port}"
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
        # One thread, whatever the machine: with one per core, TensorFlow Serving's queue would not fill on a large one.
        limits = {"max_batch_size": 8, "max_enqueued_batches": 4, "num_batch_threads": 1}
        path.write_text(" ".join(f"{name} {{ value: {value} }}" for name, value in limits.items()))
        flags = {"enable_batching": "true", "batching_parameters_file": path}
        with _server(runtime, minilm.parent, **flags) as address, grpc.insecure_channel(address) as opened:
            yield opened


@contextlib.contextmanager
def _tensorflow_serving(base: Path, port: int, flags: Mapping[str, object]) -> Iterator[str]:
    """Run the real binary until the context ends; it listens once the model is loaded, for REST after gRPC."""
    options = [f"--{name}={value}" for name, value in flags.items()]
    command = [os.environ[BINARY], f"--port={port}", "--grpc_max_threads=64", *options]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "1"})
        try:
            if not _starts(process, lambda: _available(f"127.0.0.1:{port}", base.name) and _open(flags)):
                log.seek(0)
                said = log.read().decode(errors="replace")[-3000:]
                pytest.fail(f"{BINARY} did not make {base.name} available within {START_SECONDS} s:\n{said}")
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_ports(count: int) -> list[int]:
    """Return that many different ports that nobody has, all held at a time while they are looked for."""
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in taken:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in taken]


def _starts(process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if ready():
            return True
        time.sleep(0.2)
    return False


def _available(address: str, model: str) -> bool:
    """Tell whether a version is AVAILABLE; each look is a new connection, which waits for no backoff."""
    from bertbundle import Client, ServerError

    with contextlib.suppress(ServerError), Client(address, model, timeout=5) as client:
        return any(status.state == "AVAILABLE" for status in client.status())
    return False


def _open(flags: Mapping[str, object]) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(str(flags["rest_api_port"]))), 5):
        return True
    return False


@pytest.fixture(scope="session")
def apis(tensorflow: Any) -> Any:
    """Give the official message classes and stubs as one namespace."""
    del tensorflow

    class Apis:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from tensorflow_serving.apis import (
                get_model_metadata_pb2,
                get_model_status_pb2,
                model_service_pb2_grpc,
                predict_pb2,
                prediction_service_pb2_grpc,
            )

    return Apis


@pytest.fixture(scope="session")
def channel(serve: Serve, minilm: Path) -> Iterator[grpc.Channel]:
    """Give a channel to a server of the MiniLM bundle, for the official stubs."""
    with grpc.insecure_channel(serve(minilm)) as opened:
        yield opened
