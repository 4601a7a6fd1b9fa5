"""Create TensorFlow Serving's gRPC requests and parse its responses."""

from __future__ import annotations

import grpc

from bertbundle.contract.types import PredictCall, Prediction, VersionStatus
from bertbundle.errors import ServerError
from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.tensors import TensorError, decode_tensors, encode_tensors

__all__ = [
    "METHODS",
    "check_reload",
    "metadata_request",
    "predict_request",
    "read_prediction",
    "read_status",
    "status_request",
]

METHODS = {
    "predict": (
        "/tensorflow.serving.PredictionService/Predict",
        wire.PredictRequest.SerializeToString,
        wire.PredictResponse.FromString,
    ),
    "status": (
        "/tensorflow.serving.ModelService/GetModelStatus",
        wire.GetModelStatusRequest.SerializeToString,
        wire.GetModelStatusResponse.FromString,
    ),
    "metadata": (
        "/tensorflow.serving.PredictionService/GetModelMetadata",
        wire.GetModelMetadataRequest.SerializeToString,
        wire.GetModelMetadataResponse.FromString,
    ),
    "reload": (
        "/tensorflow.serving.ModelService/HandleReloadConfigRequest",
        wire.ReloadConfigRequest.SerializeToString,
        wire.ReloadConfigResponse.FromString,
    ),
}
"""Path, request serializer and response deserializer of each gRPC method."""


def predict_request(call: PredictCall) -> wire.PredictRequest:
    """Create a Predict request."""
    spec = wire.ModelSpec(name=call.model, signature_name=call.signature)
    if isinstance(call.version, str):
        spec.version_label = call.version
    elif call.version is not None:
        spec.version.value = call.version
    return wire.PredictRequest(model_spec=spec, inputs=encode_tensors(call.inputs), output_filter=call.outputs)


def read_prediction(response: wire.PredictResponse, address: str) -> Prediction:
    """Parse a Predict response.

    Raises:
        ServerError: the response contains a malformed tensor.
    """
    try:
        arrays = decode_tensors(response.outputs)
    except TensorError as error:
        raise ServerError(f"{address} sent a malformed tensor: {error}.", code="INTERNAL") from error
    return Prediction(arrays, response.model_spec.version.value)


def status_request(model: str) -> wire.GetModelStatusRequest:
    """Create a GetModelStatus request."""
    return wire.GetModelStatusRequest(model_spec=wire.ModelSpec(name=model))


def read_status(response: wire.GetModelStatusResponse) -> list[VersionStatus]:
    """Parse a GetModelStatus response."""
    return [_version_status(item) for item in response.model_version_status]


def metadata_request(model: str, label: str) -> wire.GetModelMetadataRequest:
    """Create a GetModelMetadata request for the version that a label stands for."""
    spec = wire.ModelSpec(name=model, version_label=label)
    return wire.GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"])


def check_reload(response: wire.ReloadConfigResponse, address: str) -> None:
    """Check that a server accepted its new models.

    Raises:
        ServerError: it did not.
    """
    status = response.status
    if status.error_code:
        code = _CODE_NAMES.get(status.error_code, "UNKNOWN")
        message = f"{address} did not accept the models with {code}: {status.error_message}"
        raise ServerError(message, code=code, details=status.error_message)


_CODE_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}
_STATE_NAMES = {number: name for name, number in wire.ModelVersionStatus.State.items()}


def _version_status(item: wire.ModelVersionStatus) -> VersionStatus:
    return VersionStatus(
        version=item.version,
        state=_STATE_NAMES.get(item.state, str(item.state)),
        error_code=_CODE_NAMES.get(item.status.error_code, "UNKNOWN"),
        error_message=item.status.error_message,
    )
