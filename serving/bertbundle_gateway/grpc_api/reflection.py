"""Server reflection: the gateway's services under their published names, in a separate descriptor pool."""

from __future__ import annotations

from google.protobuf import any_pb2, descriptor_pb2, text_format
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from bertbundle.text.v1 import text_service_pb2
from bertbundle_gateway.protos import _open_inference_pb2

__all__ = ["INFERENCE_SERVICE", "add_services", "descriptor_pool"]

INFERENCE_SERVICE = "inference.GRPCInferenceService"
"""The published name of the service of the Open Inference Protocol."""


def add_services(pool: DescriptorPool) -> None:
    """Add the descriptors of TextService and of GRPCInferenceService to a pool that has their imports.

    The messages of GRPCInferenceService have another package in this process: see protos/_open_inference.proto.
    """
    pool.AddSerializedFile(text_service_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto.FromString(_open_inference_pb2.DESCRIPTOR.serialized_pb)
    text = text_format.MessageToString(file).replace(file.package, INFERENCE_SERVICE.partition(".")[0])
    published = text_format.Parse(text, descriptor_pb2.FileDescriptorProto())
    published.name = "open_inference_grpc.proto"
    pool.Add(published)


def descriptor_pool() -> DescriptorPool:
    """Return a pool with the descriptors of the gateway's services."""
    pool = DescriptorPool()
    for module in (any_pb2, health_pb2, reflection_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    add_services(pool)
    return pool
