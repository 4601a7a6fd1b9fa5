"""The servicer, called with this project's messages: encodings, errors and reloads."""

from __future__ import annotations

from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf.wrappers_pb2 import Int64Value

from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.tensors import decode_tensor, encode_tensors
from bertbundle_serving.grpc_api.servicer import MAX_ERROR_LENGTH, truncate_error
from embedded_server import PREDICT, RELOAD, Serve
from tiny_bundles import TinyBundles


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        pytest.param(MAX_ERROR_LENGTH, MAX_ERROR_LENGTH, id="fits"),
        pytest.param(MAX_ERROR_LENGTH + 1, MAX_ERROR_LENGTH + len("...TRUNCATED"), id="truncated"),
    ],
)
def test_truncate_error(length: int, expected: int) -> None:
    """A message of more than 1024 characters is truncated, and ends with a note of that."""
    assert len(truncate_error("x" * length)) == expected


def test_malformed_message(bundles: TinyBundles, serve: Serve) -> None:
    """Bytes that are not a PredictRequest get INVALID_ARGUMENT."""
    bundles.write(1)
    with pytest.raises(grpc.RpcError) as caught:
        serve(bundles.base).address.send(PREDICT, b"\xff\xff\xff")
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "the request is not a valid PredictRequest message"


@pytest.mark.parametrize("as_content", [pytest.param(False, id="values"), pytest.param(True, id="content")])
def test_output_encoding(bundles: TinyBundles, serve: Serve, as_content: bool) -> None:
    """Responses have the *_val fields, or tensor_content if the server is configured so."""
    bundles.write(1, scale=3.0)
    response = serve(bundles.base, tensor_content=as_content).address.predict_tiny()
    logits = response.outputs["logits"]
    assert bool(logits.tensor_content) == as_content
    assert bool(logits.float_val) != as_content
    np.testing.assert_array_equal(decode_tensor(logits), bundles.features()["input_ids"] * np.float32(3))


def test_large_messages_pass(bundles: TinyBundles, serve: Serve) -> None:
    """Requests and responses may be larger than gRPC's default limit of 4 MB."""
    bundles.write(1)
    request = wire.PredictRequest(
        model_spec=wire.ModelSpec(name="tiny"), inputs=encode_tensors(bundles.features(rows=200_000))
    )
    response = serve(bundles.base).address.predict(request)
    assert request.ByteSize() > 16_000_000
    assert decode_tensor(response.outputs["logits"]).shape == (200_000, 8)


def reload_request(**models: Path) -> bytes:
    """Return a ReloadConfigRequest for these models."""
    entries = [wire.ModelConfig(name=name, base_path=str(base)) for name, base in models.items()]
    listed = wire.ModelServerConfig(model_config_list=wire.ModelConfigList(config=entries))
    return wire.ReloadConfigRequest(config=listed).SerializeToString()


def test_reload_adds_and_removes(bundles: TinyBundles, serve: Serve) -> None:
    """A reload can add and remove models; the status of a removed model is END."""
    bundles.write(1)
    address = serve(bundles.base).address
    address.send(RELOAD, reload_request(tiny=bundles.base, other=bundles.base))
    assert address.statuses("other")[1].state == wire.ModelVersionStatus.AVAILABLE
    address.send(RELOAD, reload_request(other=bundles.base))
    with pytest.raises(grpc.RpcError) as caught:
        address.predict_tiny()
    assert caught.value.details() == "Servable not found for request: Latest(tiny)"
    assert address.statuses("tiny")[1].state == wire.ModelVersionStatus.END


def test_reload_changes_policy_and_labels(bundles: TinyBundles, serve: Serve) -> None:
    """A reload can change which versions of a model are served, and then which versions the labels point to."""
    bundles.write(1)
    bundles.write(2)
    address = serve(bundles.base).address
    entry = wire.ModelConfig(name="tiny", base_path=str(bundles.base))
    entry.model_version_policy.all.SetInParent()
    listed = wire.ModelServerConfig(model_config_list=wire.ModelConfigList(config=[entry]))
    address.send(RELOAD, wire.ReloadConfigRequest(config=listed).SerializeToString())
    listed.model_config_list.config[0].version_labels["stable"] = 1
    address.send(RELOAD, wire.ReloadConfigRequest(config=listed).SerializeToString())
    spec = wire.ModelSpec(name="tiny", version_label="stable")
    request = wire.PredictRequest(model_spec=spec, inputs=encode_tensors(bundles.features()))
    assert address.predict(request).model_spec.version == Int64Value(value=1)


@pytest.mark.parametrize(
    ("data", "code", "text"),
    [
        pytest.param(
            b"",
            "INVALID_ARGUMENT",
            "ServerModelConfig type not supported by HandleReloadConfigRequest. "
            "Only ModelConfigList is currently supported",
            id="no-list",
        ),
        pytest.param(
            wire.ReloadConfigRequest(
                config=wire.ModelServerConfig(
                    model_config_list=wire.ModelConfigList(config=[wire.ModelConfig(name="a", base_path="/a")] * 2)
                )
            ).SerializeToString(),
            "INVALID_ARGUMENT",
            "Illegal to list model a multiple times in config list",
            id="twice",
        ),
        pytest.param(
            reload_request(a=Path("/absent")),
            "FAILED_PRECONDITION",
            "model a has base path /absent, which is not a directory. "
            "Give the directory that contains one directory per version.",
            id="absent",
        ),
    ],
)
def test_invalid_reload_changes_nothing(bundles: TinyBundles, serve: Serve, data: bytes, code: str, text: str) -> None:
    """An invalid reload gets an error and changes nothing."""
    bundles.write(1)
    address = serve(bundles.base).address
    with pytest.raises(grpc.RpcError) as caught:
        address.send(RELOAD, data)
    assert (caught.value.code().name, caught.value.details()) == (code, text)
    assert address.predict_tiny().model_spec.version.value == 1
