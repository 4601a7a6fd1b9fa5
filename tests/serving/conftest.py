"""Fixtures for the server's tests: tiny bundles, servers in this process, and servers as separate processes."""

from __future__ import annotations

import os
import subprocess
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bertbundle_serving.runtimes.onnx import OnnxServable
from embedded_server import InProcessServer, Launch, Serve, ServerProcess, start_process, start_server
from tiny_bundles import INPUTS, LENGTHS, TOKENIZER, VOCABULARY, TinyBundles, manifest
from waiting import SECONDS


@pytest.fixture
def bundles(tmp_path: Path) -> TinyBundles:
    """A base path for tiny bundles."""
    base = tmp_path / "models" / "tiny"
    base.mkdir(parents=True)
    return TinyBundles(base)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers of the model ``tiny`` in this process; they are stopped after the test."""
    started: list[InProcessServer] = []

    def start(base: Path, **options: Any) -> InProcessServer:
        started.append(start_server(base, **options))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def engine_gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """An event that the ONNX runtime in this process waits for before each computation. It is set at first."""
    gate, run = threading.Event(), OnnxServable.run
    gate.set()

    def wait_and_run(*arguments: Any) -> Any:
        assert gate.wait(SECONDS)
        return run(*arguments)

    monkeypatch.setattr(OnnxServable, "run", wait_and_run)
    yield gate
    gate.set()


@pytest.fixture
def launch() -> Iterator[Launch]:
    """Start `bertbundle-serve` processes and wait until they are ready; they are killed after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*flags: str, gate: Path | None = None, ignore_sigint: bool = False) -> ServerProcess:
        started.append(start_process(*flags, gate=gate, ignore_sigint=ignore_sigint))
        return ServerProcess(started[-1], _read_banner(started[-1]))

    yield start
    for process in started:
        process.kill()
        process.communicate()


def _read_banner(process: subprocess.Popen[str]) -> list[str]:
    if process.stdout is None or process.stderr is None:
        raise RuntimeError("the server's output is not piped")
    lines = [process.stdout.readline().strip(), process.stdout.readline().strip()]
    if not lines[0]:
        raise RuntimeError(f"the server did not start: {process.stderr.read()}")
    return lines


@pytest.fixture(scope="session")
def tensorflow() -> Any:
    """TensorFlow, imported without its warnings."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow as tf
    return tf


@pytest.fixture(scope="session")
def apis(tensorflow: Any) -> Any:
    """The official stubs of TensorFlow Serving, in one namespace."""
    del tensorflow  # the stubs import it; the fixture imports it without warnings
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
    """Write a SavedModel with the signatures of the tiny bundle that computes the same, with scale 1."""
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


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The REST root of a server that serves the tiny bundle as version 1, with scale 0.1 and the label "stable"."""
    base = tmp_path_factory.mktemp("rest") / "tiny"
    base.mkdir()
    TinyBundles(base).write(1, scale=0.1)
    server = start_server(
        base,
        rest_port=0,
        poll_seconds=0,
        labels={"stable": 1},
        cors=True,
        metrics_path="/monitoring/prometheus/metrics",
    )
    yield f"http://127.0.0.1:{server.server.rest_port}"
    server.stop()
