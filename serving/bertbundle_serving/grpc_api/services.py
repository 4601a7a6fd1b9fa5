"""The gRPC services: their names, methods and message types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.message import Message

from bertbundle.wire import _wire_pb2 as wire
from bertbundle_serving.protos import _api_pb2 as api

__all__ = ["MODEL_SERVICE", "PREDICTION_SERVICE", "SERVICES", "MethodTypes"]

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"


@dataclass(frozen=True, slots=True)
class MethodTypes:
    """Message types of a gRPC method."""

    request: type[Message]
    response: type[Message]


SERVICES: Mapping[str, Mapping[str, MethodTypes]] = {
    PREDICTION_SERVICE: {
        "Classify": MethodTypes(api.ClassificationRequest, api.ClassificationResponse),
        "Regress": MethodTypes(api.RegressionRequest, api.RegressionResponse),
        "Predict": MethodTypes(wire.PredictRequest, wire.PredictResponse),
        "MultiInference": MethodTypes(api.MultiInferenceRequest, api.MultiInferenceResponse),
        "GetModelMetadata": MethodTypes(wire.GetModelMetadataRequest, wire.GetModelMetadataResponse),
    },
    MODEL_SERVICE: {
        "GetModelStatus": MethodTypes(wire.GetModelStatusRequest, wire.GetModelStatusResponse),
        "HandleReloadConfigRequest": MethodTypes(wire.ReloadConfigRequest, wire.ReloadConfigResponse),
    },
}
"""Methods by service."""
