"""The generated code of _config.proto, whose messages the official package lacks."""

from __future__ import annotations

from bertbundle_serving.protos import _config_pb2 as proto
from generated_code import descriptors
from paths import ROOT

SERVING = ROOT / "serving"


def test_generated_code_is_up_to_date() -> None:
    """_config_pb2.py is what _config.proto compiles to: run `make proto` after a change."""
    compiled, committed = descriptors(SERVING, "bertbundle_serving/protos/_config.proto", proto)
    assert committed == compiled
