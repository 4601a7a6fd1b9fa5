"""What the gRPC layer itself promises, over the wire messages."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.tensors import decode_tensor, encode_tensors
from bertbundle_serving.config.models import ModelConfig
from bertbundle_serving.errors import CODES, INTERNAL_TEXT, RequestError
from bertbundle_serving.grpc_api.handlers import MAX_MESSAGE, shorten
from bertbundle_serving.runtimes import onnx
from waiting import wait_until

if TYPE_CHECKING:
    from tests.serving.conftest import Bundles, Serve

PREDICT = "/tensorflow.serving.PredictionService/Predict"


def test_codes_are_grpc_codes() -> None:
    """Every code of the domain is a gRPC status code under its number, and none is missing."""
    assert {code.name: code.value[0] for code in grpc.StatusCode} == {name: n for n, name in enumerate(CODES)}


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        pytest.param(MAX_MESSAGE, MAX_MESSAGE, id="fits"),
        pytest.param(MAX_MESSAGE + 1, MAX_MESSAGE + len("...TRUNCATED"), id="cut"),
    ],
)
def test_shorten(length: int, expected: int) -> None:
    """A message of more than 1024 characters is cut, and says so."""
    assert len(shorten("x" * length)) == expected


def test_bytes_that_are_no_message(bundles: Bundles, serve: Serve) -> None:
    """Bytes that are no PredictRequest are the caller's error."""
    bundles.write(1)
    with pytest.raises(grpc.RpcError) as caught:
        serve(bundles.base).address.send(PREDICT, b"\xff\xff\xff")
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "the request is not a valid PredictRequest message"


@pytest.mark.parametrize("as_content", [pytest.param(False, id="values"), pytest.param(True, id="content")])
def test_output_encoding(bundles: Bundles, serve: Serve, as_content: bool) -> None:
    """Answers hold the *_val fields, or tensor_content when the server was started so."""
    bundles.write(1, scale=3.0)
    response = serve(bundles.base, tensor_content=as_content).address.predict_tiny()
    logits = response.outputs["logits"]
    assert bool(logits.tensor_content) == as_content
    assert bool(logits.float_val) != as_content
    np.testing.assert_array_equal(decode_tensor(logits), bundles.features()["input_ids"] * np.float32(3))


def test_large_messages_pass(bundles: Bundles, serve: Serve) -> None:
    """Messages beyond gRPC's usual 4 MB pass both ways."""
    bundles.write(1)
    request = wire.PredictRequest(
        model_spec=wire.ModelSpec(name="tiny"), inputs=encode_tensors(bundles.features(rows=200_000))
    )
    response = serve(bundles.base).address.predict(request)
    assert request.ByteSize() > 16_000_000
    assert decode_tensor(response.outputs["logits"]).shape == (200_000, 8)


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(ZeroDivisionError("secret"), id="bug"),
        pytest.param(RequestError("INTERNAL", "secret"), id="engine"),
    ],
)
def test_internal_errors_keep_their_detail_to_the_log(
    bundles: Bundles, serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """An error that is not the caller's has a fixed text; the log has the detail."""
    bundles.write(1)
    address = serve(bundles.base, warmup=False).address

    def fail(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(onnx.OnnxServable, "run", fail)
    with pytest.raises(grpc.RpcError) as caught:
        address.predict_tiny()
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INTERNAL, INTERNAL_TEXT)
    assert "secret" in caplog.text


def test_version_stays_until_an_abandoned_call_ends(
    bundles: Bundles, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version whose caller has left is closed only when the computation is over."""
    bundles.write(1)
    server = serve(bundles.base, warmup=False)
    running, go_on, events = threading.Event(), threading.Event(), list[str]()
    close = onnx.OnnxServable.close

    def run(*_: Any) -> dict[str, Any]:
        running.set()
        go_on.wait(20)
        events.append("computed")
        return {}

    def note(servable: onnx.OnnxServable) -> None:
        events.append("closed")
        close(servable)

    monkeypatch.setattr(onnx.OnnxServable, "run", run)
    monkeypatch.setattr(onnx.OnnxServable, "close", note)
    request = wire.PredictRequest(model_spec=wire.ModelSpec(name="tiny"), inputs=encode_tensors(bundles.features()))
    call = server.address.channel.unary_unary(PREDICT).future(request.SerializeToString())
    assert running.wait(20)
    call.cancel()
    bundles.write(2)
    _wait_for_state(server.address, 1, wire.ModelVersionStatus.UNLOADING)
    go_on.set()
    _wait_for_state(server.address, 1, wire.ModelVersionStatus.END)
    assert events == ["computed", "closed"]


def _wait_for_state(address: Any, version: int, state: int) -> None:
    wait_until(lambda: address.statuses()[version].state == state)


def test_server_without_versions_waits(bundles: Bundles, serve: Serve) -> None:
    """A model that has no version yet is not found, until one appears."""
    server = serve(bundles.base)
    assert server.server.banner()[1] == f"model tiny waits for a version in {bundles.base}"
    with pytest.raises(grpc.RpcError) as caught:
        server.address.predict_tiny()
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    bundles.write(1)
    wait_until(lambda: 1 in server.server.repository.models["tiny"]._serving)
    assert server.address.predict_tiny().model_spec.version.value == 1


@pytest.mark.parametrize(
    ("seconds", "versions"), [pytest.param(0, {1}, id="once"), pytest.param(-1, set(), id="never")]
)
def test_polling_may_be_off(bundles: Bundles, serve: Serve, seconds: float, versions: set[int]) -> None:
    """A wait of 0 looks at the disk once, a negative one never."""
    bundles.write(1)
    server = serve(bundles.base, poll_seconds=seconds).server
    bundles.write(2)
    time.sleep(0.1)
    assert {status.version for status in server.repository.models["tiny"].statuses()} == versions


def test_several_models(bundles: Bundles, serve: Serve) -> None:
    """Each model of the configuration answers under its name."""
    bundles.write(1)
    models = (ModelConfig("tiny", bundles.base), ModelConfig("other", bundles.base))
    server = serve(bundles.base, models=models)
    assert server.address.statuses("other").keys() == server.address.statuses("tiny").keys() == {1}
