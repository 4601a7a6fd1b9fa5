"""The health check of the container."""

from __future__ import annotations

from concurrent import futures

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from bertbundle_serving import healthcheck


@pytest.mark.parametrize(("status", "code"), [("SERVING", 0), ("NOT_SERVING", 1)])
def test_status(status: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is 0 only if the server is serving; a line says what it reports."""
    servicer = health.HealthServicer()
    servicer.set("", health_pb2.HealthCheckResponse.ServingStatus.Value(status))
    server = grpc.server(futures.ThreadPoolExecutor(1))
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        assert healthcheck.main([address]) == code
    finally:
        server.stop(None).wait()
    assert capsys.readouterr().out == f"{address}: {status}\n"


def test_no_server(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a server, the exit code is 1 and a line says so."""
    monkeypatch.setattr(healthcheck, "_SECONDS", 0.2)
    assert healthcheck.main(["127.0.0.1:1"]) == 1
    assert capsys.readouterr().out.startswith("127.0.0.1:1: no answer: ")
