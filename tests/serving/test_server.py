"""The server as a whole: health, start-up lines, polling, configuration changes and signals."""

from __future__ import annotations

import signal
import sys
import threading
import time
from types import ModuleType
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bertbundle.wire import _wire_pb2 as wire
from bertbundle_serving import server
from bertbundle_serving.config.models import ModelConfig
from embedded_server import Launch, Serve
from server_states import version_state
from tiny_bundles import TinyBundles
from waiting import SECONDS, wait_until


def test_health(bundles: TinyBundles, serve: Serve) -> None:
    """The standard health service reports SERVING for the server and its services, NOT_FOUND for others."""
    bundles.write(1)
    stub = health_pb2_grpc.HealthStub(serve(bundles.base).address.channel)
    for service in ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=SECONDS)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="other"), timeout=SECONDS)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_health_may_be_disabled(bundles: TinyBundles, serve: Serve) -> None:
    """If the health service is disabled, it is unimplemented."""
    bundles.write(1)
    stub = health_pb2_grpc.HealthStub(serve(bundles.base, health=False).address.channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_server_without_versions_waits(bundles: TinyBundles, serve: Serve) -> None:
    """A model without versions is NOT_FOUND until a version appears."""
    server = serve(bundles.base)
    assert server.server.banner()[1] == f"model tiny waits for a version in {bundles.base}"
    with pytest.raises(grpc.RpcError) as caught:
        server.address.predict_tiny()
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    bundles.write(1)
    wait_until(lambda: 1 in server.server.repository.models["tiny"].versions)
    assert server.address.predict_tiny().model_spec.version.value == 1


@pytest.mark.parametrize(
    ("seconds", "versions"), [pytest.param(0, {1}, id="once"), pytest.param(-1, set(), id="never")]
)
def test_polling_may_be_disabled(bundles: TinyBundles, serve: Serve, seconds: float, versions: set[int]) -> None:
    """With 0 poll seconds the base path is scanned once, with a negative number never."""
    bundles.write(1)
    server = serve(bundles.base, poll_seconds=seconds).server
    bundles.write(2)
    time.sleep(0.1)
    assert {status.version for status in server.repository.models["tiny"].statuses()} == versions


def test_several_models(bundles: TinyBundles, serve: Serve) -> None:
    """Each model of the configuration answers under its name."""
    bundles.write(1)
    models = (ModelConfig("tiny", bundles.base), ModelConfig("other", bundles.base))
    server = serve(bundles.base, models=models)
    assert server.address.statuses("other").keys() == server.address.statuses("tiny").keys() == {1}


def test_idle_connections(bundles: TinyBundles, serve: Serve) -> None:
    """A thousand idle connections do not keep the server from answering others."""
    import socket

    bundles.write(1)
    server = serve(bundles.base, rest_port=0)
    idle = []
    try:
        for index in range(1000):
            port = server.server.port if index % 2 else server.server.rest_port
            idle.append(socket.create_connection(("127.0.0.1", port or 0)))
        callers = [threading.Thread(target=server.address.predict_tiny) for _ in range(50)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert server.address.predict_tiny().model_spec.version.value == 1
    finally:
        for connection in idle:
            connection.close()


@pytest.mark.slow
def test_health_reports_the_shutdown(bundles: TinyBundles, launch: Launch) -> None:
    """After SIGTERM the health is NOT_SERVING while calls are still answered. A watching client delays nothing."""
    bundles.write(1)
    flags = ("--model_name=tiny", f"--model_base_path={bundles.base}", "--lame_duck_seconds=1")
    server = launch(*flags)
    address = server.address()
    stub = health_pb2_grpc.HealthStub(address.channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=SECONDS)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    server.process.send_signal(signal.SIGTERM)
    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert address.predict_tiny().model_spec.version.value == 1
    begin = time.monotonic()
    assert server.process.wait(SECONDS) == 0
    assert time.monotonic() - begin < 8, "it waited for the watching client until the end of the grace period"


@pytest.mark.slow
def test_sigterm_while_a_version_loads(bundles: TinyBundles, launch: Launch) -> None:
    """SIGTERM ends a server without waiting for a new version that takes long to load."""
    bundles.write(1)
    server = launch("--model_name=tiny", f"--model_base_path={bundles.base}", "--file_system_poll_wait_seconds=0.05")
    bundles.write(2, loops=20_000)
    address = server.address()
    wait_until(lambda: version_state(address, 2) == wire.ModelVersionStatus.LOADING)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(SECONDS) == 0


@pytest.mark.slow
def test_kill_and_restart(bundles: TinyBundles, launch: Launch) -> None:
    """After kill -9 a new server binds the port at once, and answers on the client's existing channel."""
    bundles.write(1)
    flags = ("--model_name=tiny", f"--model_base_path={bundles.base}")
    first = launch(*flags)
    address = first.address()
    assert address.predict_tiny().model_spec.version.value == 1
    first.process.kill()
    first.process.wait()
    launch(*flags, f"--port={address.port}")
    wait_until(lambda: _answers(address))


def _answers(address: Any) -> bool:
    try:
        return bool(address.predict_tiny().model_spec.version.value == 1)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNAVAILABLE  # noqa: PT017  # the client is still connecting
        return False


def test_part_of_opentelemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other distributions of the namespace `opentelemetry`, without its API, do not keep the server from starting."""
    monkeypatch.setitem(sys.modules, "opentelemetry", ModuleType("opentelemetry"))
    monkeypatch.delitem(sys.modules, "opentelemetry.trace", raising=False)
    assert server._tracers() == ()
