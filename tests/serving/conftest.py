"""Tiny bundles, and servers to put them on."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import os
import re
import struct
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import grpc
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bertbundle.contract.manifest import FileInfo, InputSpec, Manifest, OutputSpec, Source
from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.tensors import encode_tensors
from bertbundle_serving.config.models import ModelConfig
from bertbundle_serving.repository.tfrecord import masked_crc32c
from bertbundle_serving.repository.warmup import WARMUP_FILE
from bertbundle_serving.runtimes.onnx import OnnxServable
from bertbundle_serving.server import Server, ServerOptions
from waiting import SECONDS

VOCABULARY = 100
LENGTHS = {"serving_default": 8, "length_4": 4}
INPUTS = ("attention_mask", "input_ids", "token_type_ids")
TOKENIZER = '{"fake": "tokenizer"}'


def manifest() -> Manifest:
    """Return the manifest of the tiny bundle."""
    return Manifest(
        name="tiny",
        task="token-classification",
        max_length=8,
        signatures=LENGTHS,
        inputs=(
            InputSpec("input_ids", "int32", 0, VOCABULARY),
            InputSpec("attention_mask", "int32", 0, 2),
            InputSpec("token_type_ids", "int32", 0, 2),
        ),
        outputs=(
            OutputSpec("logits", "float32", ("batch", "length")),
            OutputSpec("label_ids", "int32", ("batch", "length")),
        ),
        source=Source("fake", "tiny", "Tiny", 0, 1, VOCABULARY, 0),
    )


def features(rows: int = 2, length: int = 8) -> dict[str, np.ndarray[Any, Any]]:
    """Return valid inputs of the tiny bundle."""
    ids = np.arange(rows * length, dtype=np.int32).reshape(rows, length) % VOCABULARY
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def onnx_model(scale: float, loops: int, ballast: int = 0) -> onnx.ModelProto:
    """Build ``logits = input_ids * scale`` and ``label_ids = input_ids * attention_mask + token_type_ids``.

    With `loops` it multiplies that many matrices first, so that a call takes time.
    """
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["ids"], to=TensorProto.FLOAT),
        # Every id times scale; the ballast only has to be used, and index 0 of it is 0.
        helper.make_node("Mul", ["ids", "scale"], ["unladen"]),
        helper.make_node("Gather", ["ballast", "first"], ["nothing"]),
        helper.make_node("Add", ["unladen", "nothing"], ["scaled"]),
        # OpenVINO has no loops of no steps.
        *(_slow_nodes() if loops else [helper.make_node("Identity", ["scaled"], ["logits"])]),
        helper.make_node("Mul", ["input_ids", "attention_mask"], ["masked"]),
        helper.make_node("Add", ["masked", "token_type_ids"], ["label_ids"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.INT32, ["batch", "length"]) for name in INPUTS],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "length"]),
            helper.make_tensor_value_info("label_ids", TensorProto.INT32, ["batch", "length"]),
        ],
        _constants(scale, loops, ballast),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    return model


def _constants(scale: float, loops: int, ballast: int) -> list[Any]:
    values = {
        "ballast": np.arange(max(1, ballast // 4), dtype=np.float32),
        "scale": np.float32(scale),
        "first": np.int64(0),
        "loops": np.int64(loops),
        "zeros": np.zeros((400, 400), np.float32),
        "always": np.array(True),
    }
    return [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]


def _slow_nodes() -> list[onnx.NodeProto]:
    square = [400, 400]
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "zeros"], ["next"]),
            helper.make_node("Identity", ["going"], ["go_on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("iteration", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, square),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, square),
        ],
    )
    return [
        helper.make_node("Loop", ["loops", "always", "zeros"], ["looped"], body=body),
        helper.make_node("ReduceSum", ["looped"], ["corner"], keepdims=0),
        helper.make_node("Add", ["scaled", "corner"], ["logits"]),
    ]


def record(data: bytes) -> bytes:
    """Return one TFRecord."""
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data))


def warmup_record(inputs: Mapping[str, np.ndarray[Any, Any]] | None = None) -> bytes:
    """Return a PredictionLog, valid for the tiny bundle unless given other inputs."""
    request = wire.PredictRequest(
        model_spec=wire.ModelSpec(name="tiny", signature_name="serving_default"),
        inputs=encode_tensors(features() if inputs is None else inputs),
    )
    return wire.PredictionLog(predict_log=wire.PredictLog(request=request)).SerializeToString()


@dataclass(frozen=True)
class Bundles:
    """Writes tiny bundles under a base path."""

    base: Path
    features = staticmethod(features)
    record = staticmethod(record)
    warmup_record = staticmethod(warmup_record)

    def write(
        self,
        version: int | str,
        *,
        scale: float | None = None,
        loops: int = 0,
        warmup: bytes | None = None,
        digests: bool = False,
        ballast: int = 0,
    ) -> Path:
        """Write one and return its directory; it appears as a whole. The scale is the version unless given.

        With `digests` the manifest lists the other files, as an export's does; `ballast` is bytes of further weights.
        """
        scale = float(version) if scale is None else scale
        hidden = self.base / f".{version}"
        (hidden / WARMUP_FILE).parent.mkdir(parents=True)
        onnx.save(onnx_model(scale, loops, ballast), hidden / "model.onnx")
        (hidden / "bundle.json").write_text(manifest().to_json(), encoding="utf-8")
        (hidden / "tokenizer.json").write_text(TOKENIZER, encoding="utf-8")
        (hidden / WARMUP_FILE).write_bytes(record(warmup_record()) if warmup is None else warmup)
        if digests:
            listed = dataclasses.replace(manifest(), files=_digests(hidden))
            (hidden / "bundle.json").write_text(listed.to_json(), encoding="utf-8")
        return hidden.rename(self.base / str(version))

    def break_file(self, version: int) -> None:
        """Write a version whose model.onnx is cut off."""
        path = self.write(f"{version}.tmp", scale=1.0)
        (path / "model.onnx").write_bytes((path / "model.onnx").read_bytes()[:50])
        path.rename(self.base / str(version))


def _digests(directory: Path) -> dict[str, FileInfo]:
    contents = {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.name != "bundle.json"
    }
    return {name: FileInfo(len(data), hashlib.sha256(data).hexdigest()) for name, data in contents.items()}


@pytest.fixture
def bundles(tmp_path: Path) -> Bundles:
    """A base path for tiny bundles."""
    base = tmp_path / "models" / "tiny"
    base.mkdir(parents=True)
    return Bundles(base)


class Address:
    """A server that can be called, in this process or another, over the wire messages."""

    def __init__(self, port: int) -> None:
        self.port = port
        unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=unlimited)

    def send(self, path: str, data: bytes, timeout: float = SECONDS) -> bytes:
        """Call a method with the bytes of a message."""
        answer: bytes = self.channel.unary_unary(path)(data, timeout=timeout)
        return answer

    def predict(self, request: wire.PredictRequest, timeout: float = SECONDS) -> wire.PredictResponse:
        """Call Predict."""
        data = self.send("/tensorflow.serving.PredictionService/Predict", request.SerializeToString(), timeout)
        return wire.PredictResponse.FromString(data)

    def predict_tiny(self, timeout: float = SECONDS) -> wire.PredictResponse:
        """Call Predict on the model ``tiny`` with valid inputs."""
        spec = wire.ModelSpec(name="tiny")
        return self.predict(wire.PredictRequest(model_spec=spec, inputs=encode_tensors(features())), timeout)

    def statuses(self, name: str = "tiny") -> dict[int, wire.ModelVersionStatus]:
        """Call GetModelStatus."""
        request = wire.GetModelStatusRequest(model_spec=wire.ModelSpec(name=name))
        data = self.send("/tensorflow.serving.ModelService/GetModelStatus", request.SerializeToString())
        return {s.version: s for s in wire.GetModelStatusResponse.FromString(data).model_version_status}


class InProcess:
    """A server in an event loop of its own, in a thread of this process."""

    def __init__(self, options: ServerOptions) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.server: Server = self._run(self._start(options))
        self.address = Address(self.server.port)

    def stop(self) -> None:
        """Stop the server and the loop."""
        self.address.channel.close()
        self._run(self.server.stop(1.0))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Any) -> Any:
        future: Future[Any] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return future.result(SECONDS)

    @staticmethod
    async def _start(options: ServerOptions) -> Server:
        server = Server(options)
        await server.start()
        return server


class Serve(Protocol):
    """Starts a server in this process."""

    def __call__(self, base: Path, **options: Any) -> InProcess: ...


def _start(base: Path, **options: Any) -> InProcess:
    config = ModelConfig("tiny", base, labels=options.pop("labels", {}))
    models = options.pop("models", (config,))
    return InProcess(ServerOptions(models=models, port=0, **{"poll_seconds": 0.02} | options))


@pytest.fixture(scope="session")
def in_process() -> Serve:
    """Start a server of the model ``tiny`` in this process; who starts it stops it."""
    return _start


@pytest.fixture(scope="session")
def bundle_writer() -> type[Bundles]:
    """What writes tiny bundles."""
    return Bundles


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers of the model ``tiny`` in this process; they end with the test."""
    started: list[InProcess] = []

    def start(base: Path, **options: Any) -> InProcess:
        started.append(_start(base, **options))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def engine_gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """While this event is cleared, servers in this process compute nothing: they wait for it."""
    gate, run = threading.Event(), OnnxServable.run
    gate.set()

    def wait_and_run(*arguments: Any) -> Any:
        assert gate.wait(SECONDS)
        return run(*arguments)

    monkeypatch.setattr(OnnxServable, "run", wait_and_run)
    yield gate
    gate.set()


@dataclass
class Launched:
    """A `bertbundle-serve` process that answers."""

    process: subprocess.Popen[str]
    banner: list[str] = field(default_factory=list)

    def address(self) -> Address:
        """Return where it listens."""
        return Address(int(re.sub(r".*:", "", self.banner[0])))


class Launch(Protocol):
    """Starts a `bertbundle-serve` process. With a gate, its calls are computed once that file is there."""

    def __call__(self, *flags: str, gate: Path | None = None) -> Launched: ...


_HELD = """
import sys, time
from pathlib import Path
from bertbundle_serving.cli import main
from bertbundle_serving.runtimes.onnx import OnnxServable
gate, run = Path(sys.argv.pop(1)), OnnxServable.run
def wait_and_run(*arguments):
    gate.with_suffix(".reached").touch()
    while not gate.exists():
        time.sleep(0.01)
    return run(*arguments)
OnnxServable.run = wait_and_run
sys.exit(main())
"""


@pytest.fixture
def launch() -> Iterator[Launch]:
    """Start `bertbundle-serve` processes and wait until they answer; they end with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*flags: str, gate: Path | None = None) -> Launched:
        program = ["-c", _HELD, str(gate)] if gate else ["-m", "bertbundle_serving"]
        command = [sys.executable, *program, "--port=0", *flags]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return Launched(process, _banner(process))

    yield start
    for process in started:
        process.kill()
        process.communicate()


def _banner(process: subprocess.Popen[str]) -> list[str]:
    if process.stdout is None or process.stderr is None:
        raise RuntimeError("the server's output is not piped")
    lines = [process.stdout.readline().strip(), process.stdout.readline().strip()]
    if not lines[0]:
        raise RuntimeError(f"the server did not start: {process.stderr.read()}")
    return lines


@pytest.fixture(scope="session")
def tensorflow() -> Any:
    """TensorFlow, whose import warns."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow as tf
    return tf


@pytest.fixture(scope="session")
def apis(tensorflow: Any) -> Any:
    """The official stubs of TensorFlow Serving, in one namespace."""
    del tensorflow  # they import it, and it warns
    from types import SimpleNamespace

    from tensorflow_serving.apis import (
        classification_pb2,
        get_model_metadata_pb2,
        get_model_status_pb2,
        inference_pb2,
        model_management_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_service_pb2_grpc,
        regression_pb2,
    )

    return SimpleNamespace(
        classify=classification_pb2,
        inference=inference_pb2,
        management=model_management_pb2,
        regress=regression_pb2,
        metadata=get_model_metadata_pb2,
        status=get_model_status_pb2,
        models=model_service_pb2_grpc,
        predict=predict_pb2,
        prediction=prediction_service_pb2_grpc,
    )


SaveModel = Callable[[Path], None]


@pytest.fixture(scope="session")
def save_model(tensorflow: Any) -> SaveModel:
    """Write a SavedModel with the signatures and the arithmetic of the tiny bundle, scale 1."""
    tf = tensorflow

    def infer(input_ids: Any, attention_mask: Any, token_type_ids: Any) -> dict[str, Any]:
        logits = tf.gather(tf.range(VOCABULARY, dtype=tf.float32), input_ids)
        return {"logits": logits, "label_ids": input_ids * attention_mask + token_type_ids}

    def info(row: Any) -> dict[str, Any]:
        texts = {"manifest": manifest().to_json(), "tokenizer": TOKENIZER}
        return {name: tf.fill(tf.shape(row), tf.constant(text)) for name, text in texts.items()}

    def save(directory: Path) -> None:
        signatures = {}
        for name, length in LENGTHS.items():
            specs = [tf.TensorSpec([None, length], tf.int32, name=alias) for alias in ("input_ids", *INPUTS[::2])]
            signatures[name] = tf.function(infer).get_concrete_function(*specs)
        signatures["bundle_info"] = tf.function(info).get_concrete_function(tf.TensorSpec([None], tf.int32, name="row"))
        tf.saved_model.save(tf.Module(), str(directory), signatures=signatures)

    return save
