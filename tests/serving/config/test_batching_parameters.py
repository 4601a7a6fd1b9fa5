"""Batching parameters: TensorFlow Serving's files, and servers that use them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import grpc
import pytest

from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.tensors import decode_tensor, encode_tensors
from bertbundle_serving.config.batching_parameters import PARAMETERS_FILE, BatchingParameters, read_batching_parameters
from bertbundle_serving.errors import ServeError
from embedded_server import Serve
from paths import ROOT
from tiny_bundles import TinyBundles

DEPLOY = ROOT / "serving" / "deploy"


def read(tmp_path: Path, text: str) -> BatchingParameters:
    """Read a file with this text."""
    path = tmp_path / "batching.config"
    path.write_text(text)
    return read_batching_parameters(path)


def test_deployed_file() -> None:
    """The file in serving/deploy is read correctly."""
    assert read_batching_parameters(DEPLOY / "batching.config") == BatchingParameters(
        max_batch_size=1024,
        max_execution_batch_size=32,
        max_enqueued_batches=64,
        num_batch_threads=2,
        max_execution_tokens=None,
    )


def test_thread_pool_name(tmp_path: Path) -> None:
    """The name of the threads, a label of TensorFlow Serving's metrics, is that of the file or TensorFlow's default."""
    assert read(tmp_path, 'thread_pool_name { value: "bert" }').thread_pool_name == "bert"
    assert read(tmp_path, "").thread_pool_name == "batch_threads"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", (1000, 1000, 10, (), False), id="defaults"),
        pytest.param("max_batch_size { value: 8 }", (8, 8, 10, (), False), id="size"),
        pytest.param(
            "max_batch_size { value: 8 } enable_large_batch_splitting { value: true }", (8, 8, 10, (), True), id="split"
        ),
        pytest.param(
            "max_batch_size { value: 8 } allowed_batch_sizes: 2 allowed_batch_sizes: 8",
            (8, 8, 10, (2, 8), False),
            id="allowed",
        ),
    ],
)
def test_file(tmp_path: Path, text: str, expected: tuple[Any, ...]) -> None:
    """Omitted fields have TensorFlow Serving's defaults; without splitting, both maximum sizes are equal."""
    found = read(tmp_path, text)
    assert (
        found.max_batch_size,
        found.max_execution_batch_size,
        found.max_enqueued_batches,
        found.allowed_batch_sizes,
        found.split,
    ) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("max_batch_size: 8", "Expected", id="not-wrapped"),
        pytest.param("max_batch_size { value: 0 }", "max_batch_size must be positive; was 0", id="zero"),
        pytest.param("num_batch_threads { value: 9999 }", "num_batch_threads must be in", id="threads"),
        pytest.param(
            "allowed_batch_sizes: 8 allowed_batch_sizes: 4", "entries must be monotonically increasing", id="order"
        ),
        pytest.param(
            "max_batch_size { value: 8 } allowed_batch_sizes: 4",
            "Last entry in allowed_batch_sizes must match max_batch_size",
            id="last",
        ),
    ],
)
def test_malformed_file(tmp_path: Path, text: str, message: str) -> None:
    """A file that is malformed or contradicts itself raises an error with the reason."""
    with pytest.raises(ServeError, match="cannot read batching parameters") as caught:
        read(tmp_path, text)
    assert message in str(caught.value)


def test_absent_file(tmp_path: Path) -> None:
    """The message about a missing file names it."""
    with pytest.raises(ServeError, match=r"absent\.config"):
        read_batching_parameters(tmp_path / "absent.config")


def predict(address: Any, features: dict[str, Any]) -> wire.PredictResponse:
    """Call Predict on the tiny model."""
    spec = wire.ModelSpec(name="tiny")
    response: wire.PredictResponse = address.predict(
        wire.PredictRequest(model_spec=spec, inputs=encode_tensors(features))
    )
    return response


def test_version_has_its_own_parameters(bundles: TinyBundles, serve: Serve) -> None:
    """The batching_params.pbtxt in a version directory applies to that version."""
    (bundles.write(1) / PARAMETERS_FILE).write_text("max_batch_size { value: 2 }")
    address = serve(bundles.base).address
    assert len(decode_tensor(predict(address, bundles.features(2)).outputs["logits"])) == 2
    with pytest.raises(grpc.RpcError) as caught:
        predict(address, bundles.features(3))
    assert caught.value.details() == "Task size 3 is larger than maximum input batch size 2"


def test_broken_parameters_break_the_version(bundles: TinyBundles, serve: Serve) -> None:
    """A version with malformed parameters does not load, and the previous version stays."""
    bundles.write(1)
    hidden = bundles.write("2.tmp", scale=2.0)
    (hidden / PARAMETERS_FILE).write_text("max_batch_size { value: -1 }")
    hidden.rename(bundles.base / "2")
    address = serve(bundles.base).address
    status = address.statuses()
    assert (status[1].state, status[2].state) == (wire.ModelVersionStatus.AVAILABLE, wire.ModelVersionStatus.END)
    assert "max_batch_size must be positive" in status[2].status.error_message


def test_concurrent_callers_get_their_own_results(bundles: TinyBundles, serve: Serve) -> None:
    """Concurrent callers with different numbers of rows, one with invalid ids, get the same results as alone."""
    bundles.write(1, loops=5)
    server = serve(bundles.base)
    failures: list[str] = []

    def caller(rows: int) -> None:
        features = bundles.features(rows)
        if rows == 5:
            features["input_ids"] = features["input_ids"] + 1000
        expected = "INVALID_ARGUMENT" if rows == 5 else features["input_ids"].tolist()
        answers = [_outcome(server.address, features) for _ in range(10)]
        failures.extend(f"{rows}: {answer}" for answer in answers if answer != expected)

    threads = [threading.Thread(target=caller, args=(rows,)) for rows in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert b'bertbundle_batch_rows_bucket{le="8.0",model="tiny"' in server.server.metrics.exposition()


def _outcome(address: Any, features: dict[str, Any]) -> Any:
    try:
        return decode_tensor(predict(address, features).outputs["logits"]).tolist()
    except grpc.RpcError as error:
        return error.code().name
