"""Server reflection: what tools such as grpcurl need to speak to this server without the .proto files."""

from __future__ import annotations

from typing import Any

from google.protobuf import any_pb2, descriptor_pb2, wrappers_pb2
from google.protobuf.descriptor_pool import DescriptorPool

from bertbundle.wire import _wire_pb2 as wire
from bertbundle_serving.grpc_api.handlers import MODEL_SERVICE, PREDICTION_SERVICE
from bertbundle_serving.protos import _api_pb2 as api
from bertbundle_serving.protos import _config_pb2 as config

__all__ = ["descriptor_pool"]

_WIRE, _API = wire.DESCRIPTOR.package, api.DESCRIPTOR.package
# Method: request and response.
_METHODS = {
    PREDICTION_SERVICE: {
        "Classify": (f"{_API}.ClassificationRequest", f"{_API}.ClassificationResponse"),
        "Regress": (f"{_API}.RegressionRequest", f"{_API}.RegressionResponse"),
        "Predict": (f"{_WIRE}.PredictRequest", f"{_WIRE}.PredictResponse"),
        "MultiInference": (f"{_API}.MultiInferenceRequest", f"{_API}.MultiInferenceResponse"),
        "GetModelMetadata": (f"{_WIRE}.GetModelMetadataRequest", f"{_WIRE}.GetModelMetadataResponse"),
    },
    MODEL_SERVICE: {
        "GetModelStatus": (f"{_WIRE}.GetModelStatusRequest", f"{_WIRE}.GetModelStatusResponse"),
        "HandleReloadConfigRequest": (f"{_API}.ReloadConfigRequest", f"{_API}.ReloadConfigResponse"),
    },
}


def descriptor_pool() -> DescriptorPool:
    """Return the descriptors of the services and of their messages.

    A pool of its own: the services are `tensorflow.serving.*`, whose names TensorFlow's own messages may hold in the
    process's pool. The messages are bertbundle's, with numeric fields of tensors as numbers, not bytes.
    """
    pool = DescriptorPool()
    for module in (any_pb2, wrappers_pb2, wire, config, api):
        pool.Add(_file(module))
    services = descriptor_pb2.FileDescriptorProto(
        name="tensorflow_serving/services.proto",
        package="tensorflow.serving",
        syntax="proto3",
        dependency=[wire.DESCRIPTOR.name, api.DESCRIPTOR.name],
    )
    for service, methods in _METHODS.items():
        described = services.service.add(name=service.rpartition(".")[2])
        for method, (request, response) in methods.items():
            described.method.add(name=method, input_type=f".{request}", output_type=f".{response}")
    pool.Add(services)
    return pool


def _file(module: Any) -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
    messages = {message.name: message for message in file.message_type}
    if "TensorUnpacked" in messages:
        numbers = {field.name: field for field in messages["TensorUnpacked"].field}
        for field in messages["Tensor"].field:
            if field.name in numbers:
                field.CopyFrom(numbers[field.name])
    return file
