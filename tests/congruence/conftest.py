"""The servers that must agree: the embedded server with each runtime, and a real TensorFlow Serving if available."""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from local_server import serving
from many_signatures import save_many_signatures
from model_server import BINARY, Addresses, free_port, model_server
from optional import skip_without

RUNTIMES = ("onnx", "saved_model", "tensorflow_model_server")

Serve = Callable[[Path], str]


@pytest.fixture(scope="session", params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    """The name of a server: a runtime of the embedded server, or "tensorflow_model_server"."""
    name: str = request.param
    if name == "tensorflow_model_server" and not os.environ.get(BINARY):
        skip_without("a real TensorFlow Serving")
    return name


@pytest.fixture(scope="session")
def serve(runtime: str) -> Iterator[Serve]:
    """A function that serves the model of a version directory, started once per session, and returns ``host:port``."""
    with contextlib.ExitStack() as stack:
        addresses: dict[Path, str] = {}

        def start(version: Path) -> str:
            base = version.parent
            if base not in addresses:
                addresses[base] = stack.enter_context(_server(runtime, base))
            return addresses[base]

        yield start


# URL of a server's REST API, by its gRPC address.
REST: dict[str, str] = {}


@contextlib.contextmanager
def _server(runtime: str, base: Path, **flags: object) -> Iterator[str]:
    """Run a server of one model, whose version 1 has the label "blessed", with REST and metrics."""
    with tempfile.TemporaryDirectory() as scratch:
        files = {"model_config_file": MODELS % (base.name, base.resolve()), "monitoring_config_file": MONITORING}
        for name, text in files.items():
            (Path(scratch) / name).write_text(text)
        rest_port = free_port()
        # TensorFlow Serving assigns labels before it loads models: without this flag it does not start with a label.
        flags = {"allow_version_labels_for_unavailable_models": "true", "rest_api_port": rest_port} | flags
        flags |= {name: Path(scratch) / name for name in files}
        real = runtime == "tensorflow_model_server"
        server = model_server(base.name, **flags) if real else serving(runtime=runtime, **flags)
        with server as address:
            REST[address] = f"http://127.0.0.1:{rest_port}"
            yield address


MODELS = (
    'model_config_list { config { name: "%s" base_path: "%s" model_platform: "tensorflow" '
    'version_labels { key: "blessed" value: 1 } } }'
)
MONITORING = 'prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }'


ANY_SAVED_MODEL = ("saved_model", "tensorflow_model_server")


@pytest.fixture(scope="session")
def many_signatures(tmp_path_factory: pytest.TempPathFactory, tensorflow: Any) -> Path:
    """The version directory of a SavedModel that is no bundle, with many signatures."""
    path = tmp_path_factory.mktemp("any") / "many" / "1"
    path.parent.mkdir()
    save_many_signatures(tensorflow, path)
    return path


@pytest.fixture(scope="session")
def serve_many(many_signatures: Path) -> Iterator[Callable[[str], Addresses]]:
    """Serve that model with a runtime, once a session."""
    with contextlib.ExitStack() as stack:
        served: dict[str, Addresses] = {}

        def start(runtime: str) -> Addresses:
            if runtime not in served:
                address = stack.enter_context(_server(runtime, many_signatures.parent))
                served[runtime] = Addresses(address, f"{REST[address]}/v1/models/many")
            return served[runtime]

        yield start


@pytest.fixture(scope="session", params=ANY_SAVED_MODEL)
def many(request: pytest.FixtureRequest, serve_many: Callable[[str], Addresses]) -> Addresses:
    """Give the addresses of each server that serves any SavedModel."""
    if request.param == "tensorflow_model_server" and not os.environ.get(BINARY):
        skip_without("a real TensorFlow Serving")
    return serve_many(request.param)


@pytest.fixture(scope="session")
def rest_url() -> Callable[[str], str]:
    """A function that returns the root URL of a server's REST API, for its gRPC address."""
    return REST.__getitem__


@pytest.fixture(scope="session")
def rest(serve: Serve, minilm: Path) -> str:
    """The root URL of the REST API of the MiniLM server."""
    return REST[serve(minilm)]


@pytest.fixture(scope="session")
def batching_channel(runtime: str, minilm: Path) -> Iterator[grpc.Channel]:
    """A channel to a server that accepts at most 8 rows per request."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "batching.config"
        # One thread on every machine: with one per core, TensorFlow Serving's queue would not fill up on large ones.
        limits = {"max_batch_size": 8, "max_enqueued_batches": 4, "num_batch_threads": 1}
        path.write_text(" ".join(f"{name} {{ value: {value} }}" for name, value in limits.items()))
        flags = {"enable_batching": "true", "batching_parameters_file": path}
        with _server(runtime, minilm.parent, **flags) as address, grpc.insecure_channel(address) as opened:
            yield opened


@pytest.fixture(scope="session")
def apis(tensorflow: Any) -> Any:
    """The official message classes and stubs in one namespace."""
    del tensorflow

    class Apis:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from tensorflow_serving.apis import (
                get_model_metadata_pb2,
                get_model_status_pb2,
                inference_pb2,
                model_service_pb2_grpc,
                predict_pb2,
                prediction_service_pb2_grpc,
            )

    return Apis


@pytest.fixture(scope="session")
def channel(serve: Serve, minilm: Path) -> Iterator[grpc.Channel]:
    """A channel to a server of the MiniLM bundle, for the official stubs."""
    with grpc.insecure_channel(serve(minilm)) as opened:
        yield opened
