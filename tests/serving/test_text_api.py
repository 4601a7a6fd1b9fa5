"""The text API of the embedded server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from bertbundle import Client, ServerError
from bertbundle.text.v1 import text_service_pb2 as pb
from embedded_server import InProcessServer, start_server
from fakes import write_bundle
from http_calls import fetch

SERVICE = "bertbundle.text.v1.TextService"
MODEL = pb.ModelSelector(name="tiny")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base path of the small model."""
    path = tmp_path_factory.mktemp("models") / "tiny"
    write_bundle(path)
    return path


@pytest.fixture(scope="module")
def server(base: Path) -> Iterator[InProcessServer]:
    """A server with the text API."""
    running = start_server(base, text_api=True, labels={"stable": 1}, rest_port=0)
    yield running
    running.stop()


def call(server: InProcessServer, name: str, request: Any, metadata: Any = ()) -> Any:
    """Call a method of TextService."""
    response = getattr(pb, f"{name}Response")
    method = server.address.channel.unary_unary(
        f"/{SERVICE}/{name}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=response.FromString,
    )
    return method(request, metadata=metadata, timeout=20)


def entities(server: InProcessServer, *texts: str, model: Any = MODEL) -> Any:
    """Call FindEntities."""
    return call(server, "FindEntities", pb.FindEntitiesRequest(model=model, texts=texts))


def test_entities(server: InProcessServer) -> None:
    """The entities are those that the Python client gets from the same server."""
    texts = ["wang lives in berlin", "王建国 " * 9]
    with Client(f"127.0.0.1:{server.server.port}", "tiny") as client:
        expected = client.entities(texts)
    response = entities(server, *texts, "")
    found = [
        [(item.label, item.text, item.span.start, item.span.end, item.score) for item in result.entities.entities]
        for result in response.results[:2]
    ]
    assert found == [[(item.label, item.text, item.start, item.end, item.score) for item in each] for each in expected]
    assert response.results[2].error.reason == "EMPTY_TEXT"
    assert response.model_version == 1


@pytest.mark.parametrize(
    "model", [pb.ModelSelector(name="tiny", version=1), pb.ModelSelector(name="tiny", label="stable")]
)
def test_versions(server: InProcessServer, model: Any) -> None:
    """A version is chosen by its number or its label."""
    assert entities(server, "wang", model=model).model_version == 1


@pytest.mark.parametrize(
    "model",
    [
        pb.ModelSelector(name="other"),
        pb.ModelSelector(name="tiny", version=9),
        pb.ModelSelector(name="tiny", label="canary"),
    ],
)
def test_no_such_model(server: InProcessServer, model: Any) -> None:
    """A model, version or label that does not exist is NOT_FOUND."""
    with pytest.raises(grpc.RpcError) as caught:
        entities(server, "wang", model=model)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_models(server: InProcessServer) -> None:
    """The models of the server are listed and described."""
    assert list(call(server, "ListModels", pb.ListModelsRequest()).names) == ["tiny"]
    model = call(server, "GetModel", pb.GetModelRequest(model=MODEL)).model
    assert (model.task, model.method) == ("token-classification", "FindEntities")
    assert [version.state for version in model.versions] == [pb.VERSION_STATE_AVAILABLE]


def tensor(name: str) -> dict[str, Any]:
    """Return a row of four token ids for the Open Inference Protocol."""
    return {"name": name, "shape": [1, 4], "datatype": "INT32", "data": [1, 1, 1, 1]}


INPUTS = ("attention_mask", "input_ids", "token_type_ids")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (INPUTS, ""),
        (INPUTS[:2], "input size does not match signature: 2!=3"),
        ((*INPUTS, "other"), "input size does not match signature: 4!=3"),
        ((*INPUTS[:2], "other"), "Signature input alias: token_type_ids"),
    ],
)
def test_names_of_tensors(server: InProcessServer, names: tuple[str, ...], message: str) -> None:
    """Tensors whose names are not those of the signature are refused as over gRPC: none is ignored."""
    body = {"inputs": [tensor(name) for name in names], "parameters": {"signature_name": "length_4"}}
    url = f"http://127.0.0.1:{server.server.rest_port}/v2/models/tiny/infer"
    status, _, answer = fetch(url, json.dumps(body).encode())
    assert status == (400 if message else 200)
    assert json.loads(answer).get("error", "").startswith(message)


def test_reflection_and_health(server: InProcessServer) -> None:
    """Reflection and health have the service, beside those of TensorFlow Serving."""
    database = ProtoReflectionDescriptorDatabase(server.address.channel)
    assert {SERVICE, "tensorflow.serving.PredictionService"} <= set(database.get_services())
    assert database.FindFileContainingSymbol(SERVICE).package == "bertbundle.text.v1"
    check = health_pb2_grpc.HealthStub(server.address.channel).Check
    response = check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=20)
    assert response.status == health_pb2.HealthCheckResponse.SERVING


def test_off_by_default(base: Path) -> None:
    """Without --text_api there is no such service."""
    running = start_server(base)
    with pytest.raises(grpc.RpcError) as caught:
        entities(running, "wang")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    running.stop()


def test_keys(base: Path, tmp_path: Path) -> None:
    """API keys protect all methods, those of TensorFlow Serving, too; the client sends one as its token."""
    (tmp_path / "keys").write_text("secret\n", encoding="utf-8")
    running = start_server(base, text_api=True, api_keys_file=tmp_path / "keys")
    address = f"127.0.0.1:{running.server.port}"
    with pytest.raises(grpc.RpcError, match="API key"):
        entities(running, "wang")
    request = pb.FindEntitiesRequest(model=MODEL, texts=["wang"])
    assert len(call(running, "FindEntities", request, (("x-api-key", "secret"),)).results) == 1
    with Client(address, "tiny") as client, pytest.raises(ServerError, match="UNAUTHENTICATED"):
        client.entities("wang")
    with Client(address, "tiny", token="secret") as client:  # noqa: S106 - a test
        assert len(client.entities("wang")) == 1
    running.stop()
