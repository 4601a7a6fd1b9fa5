"""The messages of _api.proto are compatible with those of TensorFlow Serving."""

from __future__ import annotations

import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor

from bertbundle_serving.protos import _api_pb2 as api
from generated_code import descriptors
from paths import ROOT

_APIS = "tensorflow_serving.apis"
# Module of the official message of the same name.
OFFICIAL = {
    "BytesList": "tensorflow.core.example.feature_pb2",
    "FloatList": "tensorflow.core.example.feature_pb2",
    "Int64List": "tensorflow.core.example.feature_pb2",
    "Feature": "tensorflow.core.example.feature_pb2",
    "Features": "tensorflow.core.example.feature_pb2",
    "Example": "tensorflow.core.example.example_pb2",
    "ExampleList": f"{_APIS}.input_pb2",
    "ExampleListWithContext": f"{_APIS}.input_pb2",
    "Input": f"{_APIS}.input_pb2",
    "Class": f"{_APIS}.classification_pb2",
    "Classifications": f"{_APIS}.classification_pb2",
    "ClassificationResult": f"{_APIS}.classification_pb2",
    "ClassificationRequest": f"{_APIS}.classification_pb2",
    "ClassificationResponse": f"{_APIS}.classification_pb2",
    "Regression": f"{_APIS}.regression_pb2",
    "RegressionResult": f"{_APIS}.regression_pb2",
    "RegressionRequest": f"{_APIS}.regression_pb2",
    "RegressionResponse": f"{_APIS}.regression_pb2",
    "InferenceTask": f"{_APIS}.inference_pb2",
    "InferenceResult": f"{_APIS}.inference_pb2",
    "MultiInferenceRequest": f"{_APIS}.inference_pb2",
    "MultiInferenceResponse": f"{_APIS}.inference_pb2",
}
# Examples are bytes in _api.proto and messages in the official one, which are the same on the wire.
BYTES_FOR_EXAMPLE = {"ExampleList.examples", "ExampleListWithContext.examples", "ExampleListWithContext.context"}


def test_every_message_has_a_counterpart() -> None:
    """Every message of _api.proto is compared."""
    assert set(api.DESCRIPTOR.message_types_by_name) == set(OFFICIAL)


def test_generated_code_is_up_to_date(tmp_path: Path) -> None:
    """_api_pb2.py is what _api.proto compiles to: run `make proto` after a change."""
    for package, folder in (("bertbundle", "clients"), ("bertbundle_serving", "serving")):
        (tmp_path / package).symlink_to(ROOT / folder / package)
    compiled, committed = descriptors(tmp_path, "bertbundle_serving/protos/_api.proto", api)
    assert compiled == committed


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in OFFICIAL])
def test_fields(name: str, tensorflow: Any) -> None:
    """Each field has the name, number, type and label of the official field."""
    del tensorflow
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        official = getattr(import_module(OFFICIAL[name]), name).DESCRIPTOR
    for field in getattr(api, name).DESCRIPTOR.fields:
        official_field = official.fields_by_name[field.name]
        types = (field.type, official_field.type)
        if f"{name}.{field.name}" in BYTES_FOR_EXAMPLE:
            assert types == (FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_MESSAGE)
            assert official_field.message_type.name == "Example"
        else:
            assert types[0] == types[1]
        assert (field.number, field.is_repeated) == (official_field.number, official_field.is_repeated)
