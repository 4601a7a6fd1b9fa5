"""The messages of _config.proto are compatible with those of TensorFlow Serving."""

from __future__ import annotations

from typing import Any

from bertbundle_serving.protos import _config_pb2 as proto
from generated_code import descriptors
from optional import require_package
from paths import ROOT

SERVING = ROOT / "serving"


def test_generated_code_is_up_to_date() -> None:
    """_config_pb2.py is what _config.proto compiles to: run `make proto` after a change."""
    compiled, committed = descriptors(SERVING, "bertbundle_serving/protos/_config.proto", proto)
    assert committed == compiled


def test_model_server_config() -> None:
    """Every field of ModelServerConfig has the official name, number and type."""
    official = require_package("tensorflow_serving.config.model_server_config_pb2")
    assert _differences(proto.ModelServerConfig.DESCRIPTOR, official.ModelServerConfig.DESCRIPTOR) == []


def _differences(ours: Any, theirs: Any) -> list[str]:
    differences = []
    for field in ours.fields:
        other = theirs.fields_by_name.get(field.name)
        kinds = [(f.number, f.type, f.is_repeated) for f in (field, other) if f is not None]
        if len(set(kinds)) != 1 or len(kinds) != 2:
            differences.append(f"{ours.name}.{field.name}")
        elif field.message_type is not None and other is not None and other.message_type is not None:
            differences += _differences(field.message_type, other.message_type)
    return differences
