"""API keys of gRPC calls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from bertbundle.text.v1 import text_service_pb2 as pb
from fakes import FakeServer, predict_method
from gateways import MODEL, running_gateway

REQUEST = pb.FindEntitiesRequest(model=MODEL, texts=["wang"])


def test_keys(start_server: Callable[..., FakeServer], make_stub: Any, tmp_path: Path) -> None:
    """Calls and streams need a key; health checks do not."""
    (tmp_path / "keys").write_text("secret-1\nsecret-2\n", encoding="utf-8")
    with running_gateway(start_server(predict_method()).address, api_keys_file=tmp_path / "keys") as running:
        stub = make_stub(running.channel)
        for metadata in ((("authorization", "Bearer secret-1"),), (("x-api-key", "secret-2"),)):
            assert len(stub.FindEntities(REQUEST, metadata=metadata, timeout=20).results) == 1
            requests = iter([pb.AnnotateRequest(find_entities=REQUEST)])
            assert len(list(stub.Annotate(requests, metadata=metadata, timeout=20))) == 1
        bad: dict[Any, str] = {
            (): "API_KEY_MISSING",
            (("x-api-key", "secret"),): "API_KEY_INVALID",
            (("authorization", "secret-1"),): "API_KEY_MISSING",
        }
        for metadata, reason in bad.items():
            with pytest.raises(grpc.RpcError) as caught:
                stub.FindEntities(REQUEST, metadata=metadata, timeout=20)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            info = error_details_pb2.ErrorInfo()
            assert rpc_status.from_call(caught.value).details[0].Unpack(info)
            assert info.reason == reason
            with pytest.raises(grpc.RpcError, match="API key"):
                next(stub.Annotate(iter([pb.AnnotateRequest(find_entities=REQUEST)]), metadata=metadata, timeout=20))
        check = health_pb2_grpc.HealthStub(running.channel).Check
        assert check(health_pb2.HealthCheckRequest(), timeout=20).status == health_pb2.HealthCheckResponse.SERVING
