"""Requests about models, and requests with tf.Examples, from the official client library to every server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest

pytestmark = pytest.mark.slow
SECONDS = 60
_Code = grpc.StatusCode


def test_status(channel: grpc.Channel, apis: Any) -> None:
    """The only version is AVAILABLE."""
    request = apis.get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "minilm"
    stub = apis.model_service_pb2_grpc.ModelServiceStub(channel)
    states = stub.GetModelStatus(request, timeout=SECONDS).model_version_status
    assert [(state.version, state.state, state.status.error_code) for state in states] == [(1, 30, 0)]


def test_status_without_a_model(channel: grpc.Channel, apis: Any) -> None:
    """A status request without a model gets INVALID_ARGUMENT."""
    stub = apis.model_service_pb2_grpc.ModelServiceStub(channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetModelStatus(apis.get_model_status_pb2.GetModelStatusRequest(), timeout=SECONDS)
    assert (caught.value.code(), caught.value.details()) == (_Code.INVALID_ARGUMENT, "Missing ModelSpec")


@pytest.mark.parametrize(
    ("name", "version", "text"),
    [
        pytest.param("nomodel", None, "Could not find any versions of model nomodel", id="model"),
        pytest.param("minilm", 99, "Could not find version 99 of model minilm", id="version"),
    ],
)
def test_status_of_unknown_models_and_versions(
    channel: grpc.Channel, apis: Any, name: str, version: int | None, text: str
) -> None:
    """The status of an unknown model or version is NOT_FOUND."""
    request = apis.get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = name
    if version is not None:
        request.model_spec.version.value = version
    with pytest.raises(grpc.RpcError) as caught:
        apis.model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request, timeout=SECONDS)
    assert (caught.value.code(), caught.value.details()) == (_Code.NOT_FOUND, text)


NO_FIELD = "GetModelMetadataRequest must specify at least one metadata_field"


@pytest.mark.parametrize(
    ("model", "fields", "code", "text"),
    [
        pytest.param("minilm", [], _Code.INVALID_ARGUMENT, NO_FIELD, id="no-field"),
        pytest.param("minilm", ["foo"], _Code.INVALID_ARGUMENT, "Metadata field foo is not supported", id="field"),
        pytest.param("nomodel", ["foo"], _Code.INVALID_ARGUMENT, "Metadata field foo is not supported", id="first"),
        pytest.param(None, [], _Code.INVALID_ARGUMENT, "Missing ModelSpec", id="no-model-spec"),
        pytest.param(
            "nomodel",
            ["signature_def"],
            _Code.NOT_FOUND,
            "Servable not found for request: Latest(nomodel)",
            id="model",
        ),
    ],
)
def test_metadata_errors(
    channel: grpc.Channel, apis: Any, model: str | None, fields: list[str], code: grpc.StatusCode, text: str
) -> None:
    """The requested metadata fields are checked before the model is looked up."""
    request = apis.get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    if model is not None:
        request.model_spec.name = model
    with pytest.raises(grpc.RpcError) as caught:
        apis.prediction_service_pb2_grpc.PredictionServiceStub(channel).GetModelMetadata(request, timeout=SECONDS)
    assert (caught.value.code(), caught.value.details()) == (code, text)


def test_metadata_lists_the_signatures(channel: grpc.Channel, apis: Any) -> None:
    """The metadata have each signature, with int32 inputs of its fixed length."""
    request = apis.get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "minilm"
    answer = apis.prediction_service_pb2_grpc.PredictionServiceStub(channel).GetModelMetadata(request, timeout=SECONDS)
    found = apis.get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(found)
    lengths = {
        name: [dim.size for dim in signature.inputs["input_ids"].tensor_shape.dim]
        for name, signature in found.signature_def.items()
        if "input_ids" in signature.inputs
    }
    assert lengths == {"length_16": [-1, 16], "length_32": [-1, 32], "serving_default": [-1, 64]}
    assert all(found.signature_def[name].inputs["input_ids"].dtype == 3 for name in lengths)
    assert set(found.signature_def["bundle_info"].outputs) == {"manifest", "tokenizer"}


def test_reload_without_a_list(channel: grpc.Channel, apis: Any) -> None:
    """A reload request without a list of models gets INVALID_ARGUMENT."""
    from tensorflow_serving.apis import model_management_pb2

    stub = apis.model_service_pb2_grpc.ModelServiceStub(channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest(), timeout=SECONDS)
    assert (caught.value.code(), caught.value.details()) == (
        _Code.INVALID_ARGUMENT,
        (
            "ServerModelConfig type not supported by HandleReloadConfigRequest. "
            "Only ModelConfigList is currently supported"
        ),
    )


def test_label_in_use(channel: grpc.Channel, apis: Any, minilm: Path) -> None:
    """A label in use cannot be moved to a missing version, and keeps pointing to the version it pointed to."""
    from tensorflow_serving.apis import model_management_pb2

    request = model_management_pb2.ReloadConfigRequest()
    config = request.config.model_config_list.config.add(name="minilm", base_path=str(minilm.parent.resolve()))
    config.model_platform = "tensorflow"
    config.version_labels["blessed"] = 7
    stub = apis.model_service_pb2_grpc.ModelServiceStub(channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.HandleReloadConfigRequest(request, timeout=SECONDS)
    text = "Request to assign label to version 7 of model minilm, which is not currently available for inference"
    assert (caught.value.code(), caught.value.details()) == (_Code.FAILED_PRECONDITION, text)
    request = apis.get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name, request.model_spec.version_label = "minilm", "blessed"
    answer = apis.prediction_service_pb2_grpc.PredictionServiceStub(channel).GetModelMetadata(request, timeout=SECONDS)
    assert answer.model_spec.version.value == 1


@pytest.mark.parametrize(
    ("method", "kind"), [("Classify", "classification"), ("Regress", "regression")], ids=["classify", "regress"]
)
def test_examples_to_a_bundle(channel: grpc.Channel, apis: Any, runtime: str, method: str, kind: str) -> None:
    """A bundle accepts no tf.Examples: TensorFlow Serving counts its inputs, our server says what to call instead."""
    from tensorflow_serving.apis import classification_pb2, regression_pb2

    messages = {"Classify": classification_pb2.ClassificationRequest, "Regress": regression_pb2.RegressionRequest}
    request = messages[method]()
    request.model_spec.name = "minilm"
    request.input.example_list.examples.add()
    with pytest.raises(grpc.RpcError) as caught:
        getattr(apis.prediction_service_pb2_grpc.PredictionServiceStub(channel), method)(request, timeout=SECONDS)
    # TensorFlow Serving does not check method names unless --enable_signature_method_name_check is set.
    real = (_Code.INVALID_ARGUMENT, "Expected one input Tensor.")
    path = f"tensorflow/serving/{method.lower()}"
    text = f"the model has no {kind} signature ({path}); call Predict instead (tensorflow/serving/predict)"
    ours = (_Code.UNIMPLEMENTED, text)
    assert (caught.value.code(), caught.value.details()) == (real if runtime == "tensorflow_model_server" else ours)
