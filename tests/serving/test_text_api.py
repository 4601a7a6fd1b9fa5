"""The text API of the embedded server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from bertbundle import Client, GrpcTransport, PredictCall, ServerError
from bertbundle.text.v1 import text_service_pb2 as pb
from embedded_server import InProcessServer, start_server
from fakes import write_bundle
from inference_forms import FORMS, Input, stub_of
from optional import require_package

SERVICE = "bertbundle.text.v1.TextService"
INFERENCE = "inference.GRPCInferenceService"
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


def tensor(name: str, datatype: str = "INT32", values: Sequence[int] = (1, 1, 1, 1)) -> Input:
    """Return a row of four numbers for the Open Inference Protocol."""
    return Input(name, datatype, [1, 4], values)


ROWS = [tensor(name) for name in ("input_ids", "attention_mask", "token_type_ids")]
TENSORS = [
    (ROWS, ""),
    (ROWS[:2], "input size does not match signature: 2!=3"),
    ([*ROWS, tensor("other")], "input size does not match signature: 4!=3"),
    ([*ROWS[:2], tensor("other")], "Signature input alias: token_type_ids"),
    ([*ROWS[:2], tensor("token_type_ids", "FP32")], "Expects arg[2] to be int32 but float is provided"),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("inputs", "message"), TENSORS)
def test_tensors(server: InProcessServer, form: str, inputs: list[Input], message: str) -> None:
    """Tensors are passed to the model; those that the signature does not have are refused as by Predict."""
    answer = FORMS[form](Addresses(server), "tiny", inputs, {"signature_name": "length_4"})
    assert (answer.code == "OK") == (not message)
    assert answer.message.startswith(message)
    if not message:
        arrays = {row.name: np.array([row.values], np.int32) for row in inputs}
        transport = GrpcTransport(f"127.0.0.1:{server.server.port}")
        prediction = transport.predict(PredictCall("tiny", "length_4", arrays), timeout=20)
        transport.close()
        assert answer.outputs == {name: array.tolist() for name, array in prediction.outputs.items()}


class Addresses:
    """Where the REST and the gRPC API of a server are."""

    def __init__(self, server: InProcessServer) -> None:
        self.url = f"http://127.0.0.1:{server.server.rest_port}"
        self.address = f"127.0.0.1:{server.server.port}"


def test_open_inference(server: InProcessServer) -> None:
    """The Open Inference Protocol over gRPC has the models of the server and their versions."""
    protocol = require_package("open_inference.grpc.protocol")
    stub = stub_of(server.address.channel)
    assert stub.ServerReady(protocol.ServerReadyRequest(), timeout=20).ready
    assert list(stub.ModelMetadata(protocol.ModelMetadataRequest(name="tiny"), timeout=20).versions) == ["1"]
    with pytest.raises(grpc.RpcError, match="There is no model 'other'"):
        stub.ModelReady(protocol.ModelReadyRequest(name="other"), timeout=20)
    text = {"name": "text", "datatype": "BYTES", "shape": [1], "contents": {"bytes_contents": [b"wang"]}}
    for version, code in (("1", grpc.StatusCode.OK), ("9", grpc.StatusCode.NOT_FOUND)):
        request = protocol.ModelInferRequest(model_name="tiny", model_version=version, inputs=[text])
        try:
            response, found = stub.ModelInfer(request, timeout=20), grpc.StatusCode.OK
        except grpc.RpcError as error:
            found = error.code()
        assert (version, found) == (version, code)
    (data,) = response.outputs[0].contents.bytes_contents
    with Client(f"127.0.0.1:{server.server.port}", "tiny") as client:
        assert json.loads(data) == [entity.to_dict() for entity in client.entities("wang")]


def test_reflection_and_health(server: InProcessServer) -> None:
    """Reflection and health have the service, beside those of TensorFlow Serving."""
    database = ProtoReflectionDescriptorDatabase(server.address.channel)
    assert {SERVICE, INFERENCE, "tensorflow.serving.PredictionService"} <= set(database.get_services())
    assert database.FindFileContainingSymbol(SERVICE).package == "bertbundle.text.v1"
    assert database.FindFileContainingSymbol(INFERENCE).package == "inference"
    check = health_pb2_grpc.HealthStub(server.address.channel).Check
    for service in (SERVICE, INFERENCE):
        response = check(health_pb2.HealthCheckRequest(service=service), timeout=20)
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
