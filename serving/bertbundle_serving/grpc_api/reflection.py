"""Server reflection: lets tools such as grpcurl call the server without .proto files."""

from __future__ import annotations

from typing import Any

from google.protobuf import any_pb2, descriptor_pb2, wrappers_pb2
from google.protobuf.descriptor_pool import DescriptorPool

from bertbundle.wire import _wire_pb2 as wire
from bertbundle_gateway.grpc_api.reflection import add_services
from bertbundle_serving.grpc_api.services import SERVICES
from bertbundle_serving.protos import _api_pb2 as api

__all__ = ["descriptor_pool"]


def descriptor_pool() -> DescriptorPool:
    """Return the descriptors of the services and their messages, in a separate pool.

    The services must be in the package `tensorflow.serving`, in which the default pool may have TensorFlow's messages.
    The messages are bertbundle's, but their numeric tensor fields are numbers instead of bytes.
    """
    pool = DescriptorPool()
    for module in (any_pb2, wrappers_pb2, wire, api):
        pool.Add(_file_descriptor(module))
    add_services(pool)
    services = descriptor_pb2.FileDescriptorProto(
        name="tensorflow_serving/services.proto",
        package="tensorflow.serving",
        syntax="proto3",
        dependency=[wire.DESCRIPTOR.name, api.DESCRIPTOR.name],
    )
    for service, methods in SERVICES.items():
        descriptor = services.service.add(name=service.rpartition(".")[2])
        for name, types in methods.items():
            descriptor.method.add(
                name=name,
                input_type=f".{types.request.DESCRIPTOR.full_name}",
                output_type=f".{types.response.DESCRIPTOR.full_name}",
            )
    pool.Add(services)
    return pool


def _file_descriptor(module: Any) -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
    messages = {message.name: message for message in file.message_type}
    if "TensorUnpacked" in messages:
        numeric_fields = {field.name: field for field in messages["TensorUnpacked"].field}
        for field in messages["Tensor"].field:
            if field.name in numeric_fields:
                field.CopyFrom(numeric_fields[field.name])
    return file
