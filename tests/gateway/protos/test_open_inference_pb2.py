"""The messages of the Open Inference Protocol: generated code, and the published protocol."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bertbundle_gateway.grpc_api.reflection import descriptor_pool
from bertbundle_gateway.protos import _open_inference_pb2 as pb
from generated_code import descriptors
from optional import require_package
from paths import ROOT


def test_generated_code() -> None:
    """The Python code is the one that protoc generates from the file."""
    require_package("grpc_tools")
    compiled, committed = descriptors(ROOT / "serving", "bertbundle_gateway/protos/_open_inference.proto", pb)
    assert compiled == committed


def fields(messages: Any) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Yield the full name of each field, with what the wire format depends on."""
    for message in messages:
        for field in message.fields:
            kind = field.message_type.full_name if field.message_type else field.type
            yield field.full_name, (field.number, kind, field.is_repeated)
        yield from fields(message.nested_types)


def test_published_protocol() -> None:
    """What reflection describes has the names, numbers and types of the published protocol, and nothing else."""
    published = require_package("open_inference.grpc.protocol").DESCRIPTOR
    described = descriptor_pool().FindFileByName("open_inference_grpc.proto")
    tables = [dict(fields(file.message_types_by_name.values())) for file in (described, published)]
    assert tables[0] == tables[1]
    assert len(tables[0]) > 50
    services = [
        {
            method.full_name: (method.input_type.full_name, method.output_type.full_name)
            for service in file.services_by_name.values()
            for method in service.methods
        }
        for file in (described, published)
    ]
    assert services[0] == services[1]
    assert "inference.GRPCInferenceService.ModelInfer" in services[0]
