"""The gateway as a whole: discovery, TLS, several servers, a server that goes away."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from bertbundle import InputError, Retries, Tls
from bertbundle.text.v1 import text_service_pb2 as pb
from bertbundle_gateway.core.limits import Limits
from bertbundle_gateway.core.models import ClientSettings
from bertbundle_gateway.core.tls import ServerTls
from bertbundle_gateway.options import GatewayOptions
from bertbundle_gateway.server import Gateway
from fakes import FakeServer, Model, make_manifest, predict_method
from gateways import MODEL, running_gateway
from waiting import SECONDS, wait_until

SERVICE = "bertbundle.text.v1.TextService"
REQUEST = pb.FindEntitiesRequest(model=MODEL, texts=["wang"])
StartServer = Callable[..., FakeServer]


def test_reflection_and_health(start_server: StartServer) -> None:
    """Tools find the service by reflection, with its messages, and its health by name."""
    with running_gateway(start_server(predict_method()).address) as running:
        database = ProtoReflectionDescriptorDatabase(running.channel)
        assert SERVICE in database.get_services()
        file = database.FindFileContainingSymbol(SERVICE)
        assert [method.name for method in file.service[0].method] == [
            method.name for method in pb.DESCRIPTOR.services_by_name["TextService"].methods
        ]
        inference = "inference.GRPCInferenceService"
        described = DescriptorPool(database).FindServiceByName(inference)
        assert described.methods_by_name["ModelInfer"].input_type.full_name == "inference.ModelInferRequest"
        assert {"grpc.health.v1.Health", inference} <= set(database.get_services())
        assert database.FindFileContainingSymbol("grpc.health.v1.Health").package == "grpc.health.v1"
        check = health_pb2_grpc.HealthStub(running.channel).Check
        for service in ("", SERVICE, inference):
            response = check(health_pb2.HealthCheckRequest(service=service), timeout=20)
            assert response.status == health_pb2.HealthCheckResponse.SERVING


def test_calls_beyond_the_limit(start_server: StartServer, make_stub: Any) -> None:
    """Calls far beyond the limit of requests are refused before their messages are read."""
    end = threading.Event()

    def wait() -> Iterator[Any]:
        end.wait(SECONDS)
        yield from ()

    def list_models() -> str:
        try:
            stub.ListModels(pb.ListModelsRequest(), timeout=20)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
        return ""

    with running_gateway(start_server(predict_method()).address, limits=Limits(requests=1)) as running:
        stub = make_stub(running.channel)
        streams = [stub.Annotate(wait(), timeout=60) for _ in range(66)]
        wait_until(lambda: list_models() == "RESOURCE_EXHAUSTED: Concurrent RPC limit exceeded!")
        end.set()
        assert [list(stream) for stream in streams] == [[]] * 66
        assert list_models() == ""


def test_several_servers(start_server: StartServer, make_stub: Any) -> None:
    """Each model is asked at its own server; a model that is not listed does not exist without a default server."""
    first = start_server(predict_method())

    def other(data: bytes, context: Any) -> bytes:
        from bertbundle.wire import _wire_pb2 as wire

        request = wire.PredictRequest.FromString(data)
        request.model_spec.name = request.model_spec.name.replace("vectors", "tiny")
        return predict_method(Model(make_manifest("feature-extraction")))(request.SerializeToString(), context)

    second = start_server(other)
    with running_gateway(None, {"tiny": first.address, "vectors": second.address}) as running:
        stub = make_stub(running.channel)
        assert len(stub.FindEntities(REQUEST, timeout=20).results[0].entities.entities) == 1
        request = pb.EmbedRequest(model=pb.ModelSelector(name="vectors"), texts=["wang"])
        assert len(stub.Embed(request, timeout=20).results[0].embedding.values) == 2
        assert list(stub.ListModels(pb.ListModelsRequest(), timeout=20).names) == ["tiny", "vectors"]
        with pytest.raises(grpc.RpcError, match="no model 'third'"):
            stub.Embed(pb.EmbedRequest(model=pb.ModelSelector(name="third"), texts=["a"]), timeout=20)


def test_server_that_is_away(start_server: StartServer, make_stub: Any) -> None:
    """While the server is away, requests are UNAVAILABLE; when it is back, they are answered, by its new version."""
    server = start_server(predict_method())
    settings = ClientSettings(retries=Retries(attempts=2, first_pause=0.01))
    with running_gateway(server.address, clients=settings) as running:
        stub = make_stub(running.channel)
        assert stub.FindEntities(REQUEST, timeout=20).model_version == 1
        server.stop()
        with pytest.raises(grpc.RpcError) as caught:
            stub.FindEntities(REQUEST, timeout=20)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert server.address not in caught.value.details()
        new = Model(dataclasses.replace(make_manifest(), labels=("O", "B-NEW", "I-NEW", "B-LOC", "I-LOC")), version=2)
        start_server(predict_method(new), listen=server.address)
        response = _retry(lambda: stub.FindEntities(REQUEST, timeout=20))
        assert response.model_version == 2
        assert response.results[0].entities.entities[0].label == "NEW"


def _retry(call: Callable[[], Any]) -> Any:
    """Call until it succeeds: gRPC waits up to some seconds before it connects again."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(grpc.RpcError):
            return call()
    return call()


def test_tls(start_server: StartServer, make_stub: Any, certificate: tuple[bytes, bytes]) -> None:
    """With TLS the port refuses plain text; with the authority of the callers it refuses those without certificates."""
    key, cert = certificate
    server = start_server(predict_method())
    trusting = grpc.ssl_channel_credentials(cert)
    mutual = grpc.ssl_channel_credentials(cert, key, cert)
    for authorities, accepted, refused in ((None, (trusting, mutual), ()), (cert, (mutual,), (trusting,))):
        with running_gateway(server.address, tls=ServerTls(cert, key, authorities)) as running:
            with pytest.raises(grpc.RpcError):
                make_stub(running.channel).FindEntities(REQUEST, timeout=20)
            address = f"localhost:{running.gateway.port}"
            for credentials in accepted:
                with grpc.secure_channel(address, credentials) as channel:
                    assert len(make_stub(channel).FindEntities(REQUEST, timeout=20).results) == 1
            for credentials in refused:
                with grpc.secure_channel(address, credentials) as channel, pytest.raises(grpc.RpcError):
                    make_stub(channel).FindEntities(REQUEST, timeout=20)


def test_tls_and_token_to_the_server(
    start_server: StartServer, make_stub: Any, certificate: tuple[bytes, bytes]
) -> None:
    """The connection to the server is secured as the options say, with a token."""
    key, cert = certificate
    tokens = []

    def predict(data: bytes, context: grpc.ServicerContext) -> bytes:
        tokens.append(dict(context.invocation_metadata()).get("authorization"))
        return predict_method()(data, context)

    server = start_server(predict, credentials=grpc.ssl_server_credentials([(key, cert)]))
    options: dict[str, Any] = {"server_tls": Tls(root_certificates=cert), "server_token": lambda: "secret"}
    with running_gateway(f"localhost:{server.port}", **options) as running:
        assert len(make_stub(running.channel).FindEntities(REQUEST, timeout=20).results) == 1
    assert set(tokens) == {"Bearer secret"}


def test_port_in_use(start_server: StartServer) -> None:
    """A port that is in use is refused by name."""
    server = start_server(predict_method())
    with (
        running_gateway(server.address) as running,
        pytest.raises(InputError, match="Choose another --port"),
        running_gateway(server.address, port=running.gateway.port),
    ):
        pass


def test_banner() -> None:
    """The start-up lines say where the gateway listens and what is behind it."""

    async def banner() -> list[str]:
        from bertbundle_gateway.core.servers import Servers

        gateway = Gateway(GatewayOptions(servers=Servers("a:1", {}), port=0, rest_port=0))
        await gateway.start()
        lines = gateway.banner()
        await gateway.stop(1.0)
        return [line.replace(f":{gateway.port}", ":PORT") for line in lines]

    lines = asyncio.run(banner())
    assert lines[0] == "listening on 127.0.0.1:PORT"
    assert lines[1].startswith("REST on http://127.0.0.1:")
    assert lines[2] == "models on a:1"


_IMPORTS = """
import sys
import time
import bertbundle_gateway.server, bertbundle_gateway.rest_api.app, bertbundle_gateway.flags
heavy = ("tensorflow", "onnxruntime", "openvino", "transformers", "bertbundle_serving", "bertbundle_export", "torch")
print([name for name in heavy if name in sys.modules])
"""


def test_imports() -> None:
    """The gateway imports neither a runtime nor the server."""
    done = subprocess.run([sys.executable, "-c", _IMPORTS], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
