"""Server reflection describes the services and their messages."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from embedded_server import PREDICT, Serve
from tiny_bundles import TinyBundles
from waiting import SECONDS


def test_reflection(bundles: TinyBundles, serve: Serve) -> None:
    """Reflection alone is enough for a tool to find the services and to build the messages to call them."""
    from google.protobuf import json_format, message_factory

    bundles.write(1)
    channel = serve(bundles.base).address.channel
    database = ProtoReflectionDescriptorDatabase(channel)
    assert {"tensorflow.serving.PredictionService", "tensorflow.serving.ModelService", "grpc.health.v1.Health"} <= set(
        database.get_services()
    )
    pool = DescriptorPool(database)
    method = pool.FindServiceByName("tensorflow.serving.PredictionService").FindMethodByName("Predict")
    tensors = {
        name: {"dtype": 3, "tensor_shape": {"dim": [{"size": 1}, {"size": 8}]}, "int_val": [0] * 8}
        for name in ("input_ids", "attention_mask", "token_type_ids")
    }
    request = message_factory.GetMessageClass(method.input_type)()
    json_format.ParseDict({"model_spec": {"name": "tiny"}, "inputs": tensors}, request, descriptor_pool=pool)
    data = channel.unary_unary(PREDICT)(request.SerializeToString(), timeout=SECONDS)
    answer: Any = message_factory.GetMessageClass(method.output_type).FromString(data)
    assert list(answer.outputs["logits"].float_val) == [0.0] * 8
    assert [m.name for m in pool.FindServiceByName("tensorflow.serving.ModelService").methods] == [
        "GetModelStatus",
        "HandleReloadConfigRequest",
    ]
