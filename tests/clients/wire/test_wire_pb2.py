"""The messages of _wire.proto, compared with TensorFlow Serving's official messages.

Two differences are intended, and invisible on the wire: numeric fields of a tensor are declared as bytes instead of
packed numbers (both are one record of bytes), and enums are declared as int32 (both are one varint).
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import any_pb2
from google.protobuf.descriptor import FieldDescriptor

import bertbundle
from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.data_types import DATA_TYPES
from bertbundle.wire.tensors import decode_tensor, encode_tensor, encode_tensors, tensor_shape
from generated_code import descriptors

slow = pytest.mark.slow  # importing the official messages imports TensorFlow
CLIENTS = Path(bertbundle.__file__).parent.parent

_MODELS = "tensorflow_serving.config.model_server_config_pb2"
_STORAGE_PATHS = "tensorflow_serving.config.file_system_storage_path_source_pb2"
# Module and name of the official message, by the name of ours.
OFFICIAL = {
    "TensorShape": ("tensorflow.core.framework.tensor_shape_pb2", "TensorShapeProto"),
    "TensorShape.Dim": ("tensorflow.core.framework.tensor_shape_pb2", "TensorShapeProto.Dim"),
    "Tensor": ("tensorflow.core.framework.tensor_pb2", "TensorProto"),
    "TensorUnpacked": ("tensorflow.core.framework.tensor_pb2", "TensorProto"),
    "ModelSpec": ("tensorflow_serving.apis.model_pb2", "ModelSpec"),
    "PredictRequest": ("tensorflow_serving.apis.predict_pb2", "PredictRequest"),
    "PredictResponse": ("tensorflow_serving.apis.predict_pb2", "PredictResponse"),
    "TensorInfo": ("tensorflow.core.protobuf.meta_graph_pb2", "TensorInfo"),
    "SignatureDef": ("tensorflow.core.protobuf.meta_graph_pb2", "SignatureDef"),
    "SignatureDefMap": ("tensorflow_serving.apis.get_model_metadata_pb2", "SignatureDefMap"),
    "GetModelMetadataRequest": ("tensorflow_serving.apis.get_model_metadata_pb2", "GetModelMetadataRequest"),
    "GetModelMetadataResponse": ("tensorflow_serving.apis.get_model_metadata_pb2", "GetModelMetadataResponse"),
    "Status": ("tensorflow_serving.apis.status_pb2", "StatusProto"),
    "GetModelStatusRequest": ("tensorflow_serving.apis.get_model_status_pb2", "GetModelStatusRequest"),
    "ModelVersionStatus": ("tensorflow_serving.apis.get_model_status_pb2", "ModelVersionStatus"),
    "GetModelStatusResponse": ("tensorflow_serving.apis.get_model_status_pb2", "GetModelStatusResponse"),
    "ServableVersionPolicy": (_STORAGE_PATHS, "FileSystemStoragePathSourceConfig.ServableVersionPolicy"),
    "ServableVersionPolicy.Latest": (_STORAGE_PATHS, "FileSystemStoragePathSourceConfig.ServableVersionPolicy.Latest"),
    "ServableVersionPolicy.All": (_STORAGE_PATHS, "FileSystemStoragePathSourceConfig.ServableVersionPolicy.All"),
    "ServableVersionPolicy.Specific": (
        _STORAGE_PATHS,
        "FileSystemStoragePathSourceConfig.ServableVersionPolicy.Specific",
    ),
    "ModelConfig": (_MODELS, "ModelConfig"),
    "ModelConfigList": (_MODELS, "ModelConfigList"),
    "ModelServerConfig": (_MODELS, "ModelServerConfig"),
    "ReloadConfigRequest": ("tensorflow_serving.apis.model_management_pb2", "ReloadConfigRequest"),
    "ReloadConfigResponse": ("tensorflow_serving.apis.model_management_pb2", "ReloadConfigResponse"),
    "PredictLog": ("tensorflow_serving.apis.prediction_log_pb2", "PredictLog"),
    "PredictionLog": ("tensorflow_serving.apis.prediction_log_pb2", "PredictionLog"),
}
NUMBERS = set(wire.TensorUnpacked.DESCRIPTOR.fields_by_name)
BYTES_FOR_PACKED = {f"Tensor.{name}" for name in NUMBERS}
INT32_FOR_ENUM = {"Tensor.dtype", "TensorInfo.dtype", "Status.error_code"}
EVERY_MESSAGE = pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in OFFICIAL])


def message_class(name: str) -> Any:
    """Return a message class of _wire.proto."""
    found: Any = wire
    for part in name.split("."):
        found = getattr(found, part)
    return found


@pytest.fixture(scope="module")
def official(tensorflow: Any) -> Callable[[str], Any]:
    """Return a function that returns the official message class by the name of ours."""
    del tensorflow

    def find(name: str) -> Any:
        module, path = OFFICIAL[name]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found: Any = import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
        return found

    return find


# ---- descriptors


def _messages(descriptors: Any, prefix: str = "") -> set[str]:
    names = set()
    for name, descriptor in descriptors.items():
        if not descriptor.GetOptions().map_entry:
            names |= {prefix + name} | _messages(descriptor.nested_types_by_name, f"{prefix}{name}.")
    return names


def test_every_message_has_a_counterpart() -> None:
    """Every message of _wire.proto is compared with an official one."""
    assert _messages(wire.DESCRIPTOR.message_types_by_name) == set(OFFICIAL)


def _kind(field: Any) -> tuple[object, ...]:
    """Return what determines the encoding of a field: its type, and whether it is repeated or a map."""
    nested = field.message_type
    if nested is not None and nested.GetOptions().map_entry:
        return ("map", *(_kind(nested.fields_by_name[part]) for part in ("key", "value")))
    return field.type, field.is_repeated


@slow
@EVERY_MESSAGE
def test_fields(name: str, official: Callable[[str], Any]) -> None:
    """Each field has the name, number, type and label of the official field, except for the two intended differences."""
    official_fields = official(name).DESCRIPTOR.fields_by_name
    for field in message_class(name).DESCRIPTOR.fields:
        counterpart = official_fields[field.name]
        path = f"{name}.{field.name}"
        assert field.number == counterpart.number, path
        if path in BYTES_FOR_PACKED:
            assert _kind(field) == (FieldDescriptor.TYPE_BYTES, True), path
            assert counterpart.is_repeated, path
            assert counterpart.is_packed, path
            assert _kind(counterpart) == _kind(wire.TensorUnpacked.DESCRIPTOR.fields_by_name[field.name]), path
        elif path in INT32_FOR_ENUM:
            assert _kind(field) == (FieldDescriptor.TYPE_INT32, False), path
            assert _kind(counterpart) == (FieldDescriptor.TYPE_ENUM, False), path
        else:
            assert _kind(field) == _kind(counterpart), path


@slow
@EVERY_MESSAGE
def test_message_fields_are_counterparts(name: str, official: Callable[[str], Any]) -> None:
    """The message type of a field corresponds to the official one, or is the same well-known type of protobuf."""
    for field in message_class(name).DESCRIPTOR.fields:
        counterpart = official(name).DESCRIPTOR.fields_by_name[field.name]
        message_type, official_type = field.message_type, counterpart.message_type
        if message_type is None:
            continue
        if message_type.GetOptions().map_entry:
            message_type = message_type.fields_by_name["value"].message_type
            official_type = official_type.fields_by_name["value"].message_type
        if message_type is None:  # a map of numbers
            assert official_type is None
        elif message_type.full_name.startswith("google."):
            assert message_type.full_name == official_type.full_name
        else:
            counterpart = official(message_type.full_name.removeprefix("bertbundle.wire."))
            assert counterpart.DESCRIPTOR.full_name == official_type.full_name


@slow
def test_states(official: Callable[[str], Any]) -> None:
    """The states of a model version have the official names and numbers."""
    assert wire.ModelVersionStatus.State.items() == official("ModelVersionStatus").State.items()


@slow
def test_dtypes(tensorflow: Any) -> None:
    """Each dtype has the number, name and numpy dtype that it has in TensorFlow."""
    for row in DATA_TYPES:
        dtype = tensorflow.dtypes.as_dtype(row.number)
        assert dtype.name == {"float": "float32", "double": "float64", "half": "float16"}.get(row.name, row.name)
        if row.name != "bfloat16":  # numpy has none: TensorFlow's is of the package ml_dtypes
            assert np.dtype(dtype.as_numpy_dtype) == row.numpy


# ---- bytes


def _spec() -> wire.ModelSpec:
    spec = wire.ModelSpec(name="ner", signature_name="length_32")
    spec.version.value = 2**40
    return spec


def _arrays() -> dict[str, np.ndarray[Any, Any]]:
    return {"ids": np.array([[1, -2, 2**31 - 1]], np.int32), "text": np.array(["é".encode(), b"\xff"], object)}


def _every_dtype(*, as_content: bool) -> dict[str, wire.Tensor]:
    arrays = {row.name: np.array([[0, 1, 5]]).astype(row.numpy) for row in DATA_TYPES if row.name != "string"}
    return encode_tensors({**arrays, "string": np.array([b"a", b""], object)}, as_content=as_content)


def _signatures() -> wire.SignatureDefMap:
    info = wire.TensorInfo(name="ids:0", dtype=3, tensor_shape=tensor_shape((-1, 32)))
    unknown = wire.TensorInfo(name="y:0", dtype=1, tensor_shape=wire.TensorShape(unknown_rank=True))
    signature = wire.SignatureDef(inputs={"ids": info}, outputs={"y": unknown}, method_name="predict")
    return wire.SignatureDefMap(signature_def={"serving_default": signature})


def _metadata() -> wire.GetModelMetadataResponse:
    packed = any_pb2.Any(
        type_url="type.googleapis.com/tensorflow.serving.SignatureDefMap",
        value=_signatures().SerializeToString(deterministic=True),
    )
    return wire.GetModelMetadataResponse(model_spec=_spec(), metadata={"signature_def": packed})


def _statuses() -> wire.GetModelStatusResponse:
    states = wire.ModelVersionStatus.State
    failed = wire.Status(error_code=3, error_message="no model.onnx")
    return wire.GetModelStatusResponse(
        model_version_status=[
            wire.ModelVersionStatus(version=2, state=states.AVAILABLE),
            wire.ModelVersionStatus(version=1, state=states.END, status=failed),
        ]
    )


def _models() -> wire.ModelServerConfig:
    ner = wire.ModelConfig(name="ner", base_path="/models/ner", model_platform="tensorflow", version_labels={"a": 2**40})
    ner.model_version_policy.specific.versions.extend([1, 2**40])
    every = wire.ModelConfig(name="all", base_path="/models/all")
    every.model_version_policy.all.SetInParent()
    return wire.ModelServerConfig(model_config_list=wire.ModelConfigList(config=[ner, every]))


REQUEST = wire.PredictRequest(
    model_spec=_spec(), inputs=encode_tensors(_arrays()), output_filter=["label_ids", "label_scores"]
)
RESPONSE = wire.PredictResponse(model_spec=_spec(), outputs=encode_tensors(_arrays(), as_content=False))
MESSAGES: dict[str, tuple[str, Any]] = {
    "shape": ("TensorShape", wire.TensorShape(dim=[wire.TensorShape.Dim(size=-1, name="batch")], unknown_rank=True)),
    "dimension": ("TensorShape.Dim", wire.TensorShape.Dim(size=2**62, name="batch")),
    "tensor-fields": ("Tensor", wire.Tensor(dtype=7, version_number=1, tensor_content=b"\x00", string_val=[b"", b"a"])),
    "unpacked": ("TensorUnpacked", wire.TensorUnpacked(float_val=[1.5], int_val=[-1, 300], uint64_val=[2**64 - 1])),
    "spec-version": ("ModelSpec", _spec()),
    "spec-label": ("ModelSpec", wire.ModelSpec(name="ner", version_label="stable")),
    "request-content": ("PredictRequest", REQUEST),
    "request-values": ("PredictRequest", wire.PredictRequest(inputs=_every_dtype(as_content=False))),
    "request-every-dtype": ("PredictRequest", wire.PredictRequest(inputs=_every_dtype(as_content=True))),
    "response-values": ("PredictResponse", RESPONSE),
    "response-content": ("PredictResponse", wire.PredictResponse(outputs=encode_tensors(_arrays()))),
    "tensor-info": ("TensorInfo", wire.TensorInfo(name="ids:0", dtype=3, tensor_shape=tensor_shape((-1, 32)))),
    "signature": ("SignatureDef", _signatures().signature_def["serving_default"]),
    "signatures": ("SignatureDefMap", _signatures()),
    "metadata-request": (
        "GetModelMetadataRequest",
        wire.GetModelMetadataRequest(model_spec=_spec(), metadata_field=["signature_def"]),
    ),
    "metadata": ("GetModelMetadataResponse", _metadata()),
    "status": ("Status", wire.Status(error_code=5, error_message="gone")),
    "status-request": ("GetModelStatusRequest", wire.GetModelStatusRequest(model_spec=_spec())),
    "version-status": ("ModelVersionStatus", _statuses().model_version_status[1]),
    "statuses": ("GetModelStatusResponse", _statuses()),
    "policy": ("ServableVersionPolicy", _models().model_config_list.config[0].model_version_policy),
    "policy-latest": ("ServableVersionPolicy.Latest", wire.ServableVersionPolicy.Latest(num_versions=2)),
    "policy-all": ("ServableVersionPolicy.All", wire.ServableVersionPolicy.All()),
    "policy-specific": ("ServableVersionPolicy.Specific", wire.ServableVersionPolicy.Specific(versions=[1, 2**40])),
    "model": ("ModelConfig", _models().model_config_list.config[0]),
    "model-list": ("ModelConfigList", _models().model_config_list),
    "models": ("ModelServerConfig", _models()),
    "reload": ("ReloadConfigRequest", wire.ReloadConfigRequest(config=_models())),
    "reload-status": ("ReloadConfigResponse", wire.ReloadConfigResponse(status=wire.Status(error_code=9))),
    "log": ("PredictLog", wire.PredictLog(request=REQUEST)),
    "warmup": ("PredictionLog", wire.PredictionLog(predict_log=wire.PredictLog(request=REQUEST))),
}
EVERY_CASE = pytest.mark.parametrize(
    ("name", "message"), [pytest.param(*case, id=key) for key, case in MESSAGES.items()]
)


def test_every_message_has_bytes_to_compare() -> None:
    """Every message is also compared by serialized bytes."""
    assert {name for name, _ in MESSAGES.values()} == set(OFFICIAL)


def _text_of_known_fields(message: Any) -> str:
    """Return the official message as text, and check that it has no unknown fields."""
    text = str(message)
    known = type(message).FromString(message.SerializeToString())
    known.DiscardUnknownFields()
    assert known == message, "our bytes contain fields that the official message does not have"
    return text


@slow
@EVERY_CASE
def test_official_message_parses_ours(name: str, message: Any, official: Callable[[str], Any]) -> None:
    """The official message parses our bytes completely, and serializes to the same bytes."""
    data = message.SerializeToString(deterministic=True)
    parsed = official(name).FromString(data)
    assert _text_of_known_fields(parsed) or not parsed.DESCRIPTOR.fields
    assert parsed.SerializeToString(deterministic=True) == data


@slow
@EVERY_CASE
def test_our_message_parses_the_official_one(name: str, message: Any, official: Callable[[str], Any]) -> None:
    """Our message parses the bytes of an official message that was set field by field to the same content."""
    copied = official(name)()
    _copy(message, copied)
    assert type(message).FromString(copied.SerializeToString()) == message


def _copy(source: Any, target: Any) -> None:
    """Set the fields of a message of another class by name; packed numbers of a tensor are set as numbers."""
    if source.DESCRIPTOR.full_name == "bertbundle.wire.Tensor":
        packed = type(source)()
        packed.CopyFrom(source)
        numbers = wire.TensorUnpacked.FromString(source.SerializeToString())
        numbers.DiscardUnknownFields()
        for name in NUMBERS:
            getattr(target, name).extend(getattr(numbers, name))
            packed.ClearField(name)
        source = packed
    for field, value in source.ListFields():
        _copy_field(field, value, target)


def _copy_field(field: FieldDescriptor, value: Any, target: Any) -> None:
    target_value = getattr(target, field.name)
    nested = field.message_type
    if nested is not None and nested.GetOptions().map_entry:
        for key in value:
            if nested.fields_by_name["value"].message_type is None:
                target_value[key] = value[key]
            else:
                _copy(value[key], target_value[key])
    elif field.is_repeated and nested is not None:
        for item in value:
            _copy(item, target_value.add())
    elif field.is_repeated:
        target_value.extend(value)
    elif nested is not None:
        target_value.SetInParent()
        _copy(value, target_value)
    else:
        setattr(target, field.name, value)


@slow
def test_requests_in_tensorflow(tensorflow: Any, official: Callable[[str], Any]) -> None:
    """The official request has the arrays, model spec and output filter of our request."""
    message = official("PredictRequest").FromString(REQUEST.SerializeToString())
    assert message.model_spec.version.value == 2**40
    assert (message.model_spec.name, message.model_spec.signature_name) == ("ner", "length_32")
    assert list(message.output_filter) == ["label_ids", "label_scores"]
    arrays = {name: tensorflow.make_ndarray(tensor).tolist() for name, tensor in message.inputs.items()}
    assert arrays == {name: array.tolist() for name, array in _arrays().items()}


@slow
def test_responses_of_tensorflow(tensorflow: Any, official: Callable[[str], Any]) -> None:
    """An official response, with tensors encoded by TensorFlow as content and as values, is decoded to its arrays."""
    message = official("PredictResponse")()
    array = np.array([[0.5, -1.5]], np.float32)
    message.outputs["content"].CopyFrom(tensorflow.make_tensor_proto(array))
    message.outputs["values"].dtype = 1
    message.outputs["values"].tensor_shape.CopyFrom(message.outputs["content"].tensor_shape)
    message.outputs["values"].float_val.extend([0.5, -1.5])
    assert message.outputs["content"].tensor_content
    response = wire.PredictResponse.FromString(message.SerializeToString())
    assert all(decode_tensor(tensor).tolist() == array.tolist() for tensor in response.outputs.values())
    assert len(response.outputs) == 2


@slow
def test_metadata_unpacks(official: Callable[[str], Any]) -> None:
    """The official client unpacks the Any of our metadata."""
    message = official("GetModelMetadataResponse").FromString(_metadata().SerializeToString())
    unpacked = official("SignatureDefMap")()
    assert message.metadata["signature_def"].Unpack(unpacked)
    assert unpacked.signature_def["serving_default"].inputs["ids"].tensor_shape.dim[1].size == 32


# ---- the generated code


def test_generated_code_is_up_to_date() -> None:
    """_wire_pb2.py is what _wire.proto compiles to; run `make proto` after a change."""
    compiled, committed = descriptors(CLIENTS, "bertbundle/wire/_wire.proto", wire)
    assert committed == compiled


def test_stub_names_every_message() -> None:
    """The stub of the generated code has each message and each field."""
    stub = (CLIENTS / "bertbundle" / "wire" / "_wire_pb2.pyi").read_text(encoding="utf-8")
    for name in OFFICIAL:
        assert f"class {name.split('.')[-1]}(" in stub
        for field in message_class(name).DESCRIPTOR.fields:
            assert f"{field.name.upper()}_FIELD_NUMBER" in stub


@slow
@pytest.mark.parametrize(
    "order",
    [
        pytest.param(["bertbundle.wire._wire_pb2", "tensorflow_serving.apis.predict_pb2"], id="ours-first"),
        pytest.param(["tensorflow_serving.apis.predict_pb2", "bertbundle.wire._wire_pb2"], id="official-first"),
    ],
)
def test_both_in_one_process(order: list[str]) -> None:
    """Our messages and TensorFlow's can be imported in one process, in either order."""
    code = "\n".join(f"import {module}" for module in order) + (
        "\nfrom bertbundle.wire import _wire_pb2 as ours"
        "\nfrom tensorflow_serving.apis.predict_pb2 import PredictRequest"
        "\nprint(PredictRequest.FromString(ours.PredictRequest(output_filter=['y']).SerializeToString()).output_filter)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "['y']\n"


def test_scalar_has_a_shape() -> None:
    """The tensor of a 0-d array has a shape message without dimensions."""
    tensor = encode_tensor(np.array(1, np.float32))
    assert tensor.HasField("tensor_shape")
    assert not tensor.tensor_shape.dim
