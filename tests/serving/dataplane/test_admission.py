"""Requests beyond the limits are refused, and errors reveal no details to clients."""

from __future__ import annotations

import logging
import threading
from typing import Any

import grpc
import pytest

from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.tensors import encode_tensors
from bertbundle_serving.dataplane.admission import Limits
from bertbundle_serving.errors import INTERNAL_TEXT, RequestError
from bertbundle_serving.runtimes import onnx
from embedded_server import PREDICT, Serve
from tiny_bundles import TinyBundles, predict_request
from waiting import wait_until


def test_too_many_calls(bundles: TinyBundles, serve: Serve, engine_gate: threading.Event) -> None:
    """A call beyond --grpc_max_threads is refused with TensorFlow Serving's message; the others are answered."""
    bundles.write(1, warmup=b"")
    engine_gate.clear()
    address = serve(bundles.base, limits=Limits(calls=2)).address
    call = address.channel.unary_unary(PREDICT)
    running = [call.future(predict_request(bundles.features()).SerializeToString(), timeout=60) for _ in range(6)]
    wait_until(lambda: sum(future.done() for future in running) == 4)
    refused = [future for future in running if future.done()]
    engine_gate.set()
    assert [future.code() for future in running].count(grpc.StatusCode.OK) == 2
    assert {(f.code(), f.details()) for f in refused} == {
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
    }


def test_too_large_message(bundles: TinyBundles, serve: Serve) -> None:
    """A message beyond the limit is refused."""
    bundles.write(1)
    address = serve(bundles.base, limits=Limits(message_bytes=10_000)).address
    with pytest.raises(grpc.RpcError) as caught:
        address.send(PREDICT, predict_request(bundles.features(200)).SerializeToString())
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_too_much_in_flight(bundles: TinyBundles, serve: Serve, engine_gate: threading.Event) -> None:
    """Requests that exceed the limit together are refused, but never a single request."""
    bundles.write(1, warmup=b"")
    engine_gate.clear()
    address = serve(bundles.base, limits=Limits(total_bytes=100)).address
    call = address.channel.unary_unary(PREDICT)
    running = [call.future(predict_request(bundles.features()).SerializeToString(), timeout=60) for _ in range(3)]
    wait_until(lambda: sum(future.done() for future in running) == 2)
    engine_gate.set()
    assert sorted(future.code().name for future in running) == ["OK", "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED"]


def test_deadline_in_the_queue(bundles: TinyBundles, serve: Serve, engine_gate: threading.Event) -> None:
    """A call whose deadline passes while it waits gets an error at the deadline and is never computed."""
    bundles.write(1, warmup=b"")
    engine_gate.clear()
    server = serve(bundles.base)
    admission, call = server.server.admission, server.address.channel.unary_unary(PREDICT)
    running = [call.future(predict_request(bundles.features()).SerializeToString(), timeout=60) for _ in range(2)]
    wait_until(lambda: admission.calls_in_flight == 2)
    late = call.future(predict_request(bundles.features(3)).SerializeToString(), timeout=0.5)
    wait_until(lambda: admission.calls_in_flight == 3)
    assert late.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    wait_until(lambda: admission.calls_in_flight == 2)  # the server notices it later than the client
    assert b"bertbundle_requests_in_flight 2.0" in server.server.metrics.exposition()
    engine_gate.set()
    assert [future.code() for future in running] == [grpc.StatusCode.OK] * 2
    # 2 rows each: the 3 rows were never in a batch.
    assert b'bertbundle_batch_rows_sum{model="tiny",signature="serving_default"} 4.0' in (
        server.server.metrics.exposition()
    )


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(ZeroDivisionError("secret"), id="bug"),
        pytest.param(RequestError("INTERNAL", "secret"), id="engine"),
    ],
)
def test_internal_errors_hide_their_details(
    bundles: TinyBundles,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    """An internal error has a fixed message; only the log has the details."""
    bundles.write(1)
    address = serve(bundles.base, warmup=False).address

    def fail(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(onnx.OnnxServable, "run", fail)
    with pytest.raises(grpc.RpcError) as caught:
        address.predict_tiny()
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INTERNAL, INTERNAL_TEXT)
    assert "secret" in caplog.text


def test_clients_that_disconnect(bundles: TinyBundles, serve: Serve) -> None:
    """A call does not count as in flight any more after its client closed the connection."""
    bundles.write(1, loops=50, warmup=b"")
    server, interrupted = serve(bundles.base), 0
    admission = server.server.admission
    request = wire.PredictRequest(model_spec=wire.ModelSpec(name="tiny"), inputs=encode_tensors(bundles.features()))
    for _ in range(20):
        with grpc.insecure_channel(f"127.0.0.1:{server.server.port}") as channel:
            call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
            pending = call.future(request.SerializeToString())  # gRPC cancels a call without references
            # Not channel_ready_future: its thread may poll the closed channel, and raise.
            wait_until(lambda: bool(admission.calls_in_flight) or pending.done())  # noqa: B023  # called at once
            interrupted += not pending.done()
    assert interrupted
    wait_until(lambda: admission.calls_in_flight == 0)
    assert server.address.predict_tiny().model_spec.version.value == 1


def test_engine_that_raises(bundles: TinyBundles, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the engine fails once, that call gets INTERNAL and the next call gets a result."""
    bundles.write(1)
    address = serve(bundles.base, warmup=False).address
    run = onnx.OnnxServable.run
    broken = [MemoryError("no memory")]

    def fail_once(*arguments: Any) -> Any:
        if broken:
            raise broken.pop()
        return run(*arguments)

    monkeypatch.setattr(onnx.OnnxServable, "run", fail_once)
    with pytest.raises(grpc.RpcError) as caught:
        address.predict_tiny()
    assert caught.value.code() == grpc.StatusCode.INTERNAL
    assert address.predict_tiny().model_spec.version.value == 1


def test_requests_are_logged_if_asked(bundles: TinyBundles, serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """With the flag, each request is logged with its model, its duration and its status code; without it, none is."""
    bundles.write(1)
    caplog.set_level(logging.INFO)
    serve(bundles.base).address.predict_tiny()
    assert not [r for r in caplog.records if r.name == "bertbundle_serving.requests"]
    serve(bundles.base, log_requests=True).address.predict_tiny()
    (line,) = [r for r in caplog.records if r.name == "bertbundle_serving.requests"]
    fields = line.fields  # type: ignore[attr-defined]
    assert set(fields) == {"model", "api", "entrypoint", "code", "bytes", "milliseconds"}
    assert (fields["model"], fields["api"], fields["entrypoint"], fields["code"]) == ("tiny", "Predict", "GRPC", "OK")
