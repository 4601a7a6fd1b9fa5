"""The messages of _wire.proto against TensorFlow Serving's own.

What is not the same, on purpose: the numeric fields of a tensor are bytes here and packed numbers there (one record
of bytes on the wire either way), and enums are int32 here (one varint on the wire either way).
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
from google.protobuf.descriptor import Descriptor, FieldDescriptor

import bertbundle
from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.tensors import DATA_TYPES, decode_tensor, encode_tensor, encode_tensors, tensor_shape
from generated_code import descriptors

slow = pytest.mark.slow  # the official messages import tensorflow
CLIENTS = Path(bertbundle.__file__).parent.parent

# Our message: module and message of the official one.
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
    "PredictLog": ("tensorflow_serving.apis.prediction_log_pb2", "PredictLog"),
    "PredictionLog": ("tensorflow_serving.apis.prediction_log_pb2", "PredictionLog"),
}
NUMBERS = set(wire.TensorUnpacked.DESCRIPTOR.fields_by_name)
BYTES_FOR_PACKED = {f"Tensor.{name}" for name in NUMBERS}
INT32_FOR_ENUM = {"Tensor.dtype", "TensorInfo.dtype", "Status.error_code"}
EVERY_MESSAGE = pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in OFFICIAL])


def ours(name: str) -> Any:
    """Return one of our message classes."""
    found: Any = wire
    for part in name.split("."):
        found = getattr(found, part)
    return found


@pytest.fixture(scope="module")
def official(tensorflow: Any) -> Callable[[str], Any]:
    """Return the official message class of one of ours."""
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
    """No message of _wire.proto is left out of the comparison."""
    assert _messages(wire.DESCRIPTOR.message_types_by_name) == set(OFFICIAL)


def _kind(field: Any) -> tuple[object, ...]:
    """What decides how a field looks on the wire, and in what it is gathered."""
    nested = field.message_type
    if nested is not None and nested.GetOptions().map_entry:
        return ("map", *(_kind(nested.fields_by_name[part]) for part in ("key", "value")))
    return field.type, field.is_repeated


@slow
@EVERY_MESSAGE
def test_fields(name: str, official: Callable[[str], Any]) -> None:
    """Each field has the official one's name, number, type and label, apart from what the top of this file lists."""
    theirs: Descriptor = official(name).DESCRIPTOR
    for field in ours(name).DESCRIPTOR.fields:
        twin = theirs.fields_by_name[field.name]
        place = f"{name}.{field.name}"
        assert field.number == twin.number, place
        if place in BYTES_FOR_PACKED:
            assert _kind(field) == (FieldDescriptor.TYPE_BYTES, True), place
            assert twin.is_repeated, place
            assert twin.is_packed, place
            assert _kind(twin) == _kind(wire.TensorUnpacked.DESCRIPTOR.fields_by_name[field.name]), place
        elif place in INT32_FOR_ENUM:
            assert _kind(field) == (FieldDescriptor.TYPE_INT32, False), place
            assert _kind(twin) == (FieldDescriptor.TYPE_ENUM, False), place
        else:
            assert _kind(field) == _kind(twin), place


@slow
@EVERY_MESSAGE
def test_message_fields_are_counterparts(name: str, official: Callable[[str], Any]) -> None:
    """A field that is a message is the official counterpart of ours, or the same message of protobuf's own."""
    for field in ours(name).DESCRIPTOR.fields:
        twin = official(name).DESCRIPTOR.fields_by_name[field.name]
        mine, theirs = field.message_type, twin.message_type
        if mine is None:
            continue
        if mine.GetOptions().map_entry:
            mine, theirs = mine.fields_by_name["value"].message_type, theirs.fields_by_name["value"].message_type
        if mine.full_name.startswith("google."):
            assert mine.full_name == theirs.full_name
        else:
            assert official(mine.full_name.removeprefix("bertbundle.wire.")).DESCRIPTOR.full_name == theirs.full_name


@slow
def test_states(official: Callable[[str], Any]) -> None:
    """The states of a version have the official names and numbers."""
    assert wire.ModelVersionStatus.State.items() == official("ModelVersionStatus").State.items()


@slow
def test_dtypes(tensorflow: Any) -> None:
    """Each row of the table of dtypes has TensorFlow's number, name and numpy dtype."""
    for row in DATA_TYPES:
        dtype = tensorflow.dtypes.as_dtype(row.number)
        assert dtype.name == {"float": "float32", "double": "float64", "half": "float16"}.get(row.name, row.name)
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
    "log": ("PredictLog", wire.PredictLog(request=REQUEST)),
    "warmup": ("PredictionLog", wire.PredictionLog(predict_log=wire.PredictLog(request=REQUEST))),
}
EVERY_CASE = pytest.mark.parametrize(
    ("name", "message"), [pytest.param(*case, id=key) for key, case in MESSAGES.items()]
)


def test_every_message_has_bytes_to_compare() -> None:
    """No message is compared by its descriptor only."""
    assert {name for name, _ in MESSAGES.values()} == set(OFFICIAL)


def _known(message: Any) -> str:
    """Return the official message's text; fails if it has fields it does not know."""
    text = str(message)
    theirs = type(message).FromString(message.SerializeToString())
    theirs.DiscardUnknownFields()
    assert theirs == message, "our bytes hold fields the official message does not know"
    return text


@slow
@EVERY_CASE
def test_the_official_message_reads_ours(name: str, message: Any, official: Callable[[str], Any]) -> None:
    """Our bytes are a whole official message, and its bytes are ours again."""
    data = message.SerializeToString(deterministic=True)
    theirs = official(name).FromString(data)
    assert _known(theirs)
    assert theirs.SerializeToString(deterministic=True) == data


@slow
@EVERY_CASE
def test_ours_reads_the_official_message(name: str, message: Any, official: Callable[[str], Any]) -> None:
    """The official message with the same content, set field by field, is read as ours."""
    theirs = official(name)()
    _copy(message, theirs)
    assert type(message).FromString(theirs.SerializeToString()) == message


def _copy(source: Any, target: Any) -> None:
    """Set the fields of another message class by name, the numbers of a tensor as numbers."""
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
    there = getattr(target, field.name)
    nested = field.message_type
    if nested is not None and nested.GetOptions().map_entry:
        for key in value:
            _copy(value[key], there[key])
    elif field.is_repeated and nested is not None:
        for item in value:
            _copy(item, there.add())
    elif field.is_repeated:
        there.extend(value)
    elif nested is not None:
        there.SetInParent()
        _copy(value, there)
    else:
        setattr(target, field.name, value)


@slow
def test_requests_mean_the_same_to_tensorflow(tensorflow: Any, official: Callable[[str], Any]) -> None:
    """The official request holds the arrays, spec and filter that went into ours."""
    theirs = official("PredictRequest").FromString(REQUEST.SerializeToString())
    assert theirs.model_spec.version.value == 2**40
    assert (theirs.model_spec.name, theirs.model_spec.signature_name) == ("ner", "length_32")
    assert list(theirs.output_filter) == ["label_ids", "label_scores"]
    arrays = {name: tensorflow.make_ndarray(tensor).tolist() for name, tensor in theirs.inputs.items()}
    assert arrays == {name: array.tolist() for name, array in _arrays().items()}


@slow
def test_responses_of_tensorflow_mean_the_same(tensorflow: Any, official: Callable[[str], Any]) -> None:
    """An official response, of tensors that TensorFlow encoded as content and as values, decodes to its arrays."""
    theirs = official("PredictResponse")()
    array = np.array([[0.5, -1.5]], np.float32)
    theirs.outputs["content"].CopyFrom(tensorflow.make_tensor_proto(array))
    theirs.outputs["values"].dtype = 1
    theirs.outputs["values"].tensor_shape.CopyFrom(theirs.outputs["content"].tensor_shape)
    theirs.outputs["values"].float_val.extend([0.5, -1.5])
    assert theirs.outputs["content"].tensor_content
    response = wire.PredictResponse.FromString(theirs.SerializeToString())
    assert all(decode_tensor(tensor).tolist() == array.tolist() for tensor in response.outputs.values())
    assert len(response.outputs) == 2


@slow
def test_metadata_unpacks(official: Callable[[str], Any]) -> None:
    """The Any of our metadata is one that the official client unpacks."""
    theirs = official("GetModelMetadataResponse").FromString(_metadata().SerializeToString())
    unpacked = official("SignatureDefMap")()
    assert theirs.metadata["signature_def"].Unpack(unpacked)
    assert unpacked.signature_def["serving_default"].inputs["ids"].tensor_shape.dim[1].size == 32


# ---- the generated code


def test_generated_code_is_that_of_the_proto() -> None:
    """_wire_pb2.py holds exactly what _wire.proto compiles to: run `make proto` after a change."""
    compiled, committed = descriptors(CLIENTS, "bertbundle/wire/_wire.proto", wire)
    assert committed == compiled


def test_stub_names_every_message() -> None:
    """The .pyi beside the generated code knows each message and each field."""
    stub = (CLIENTS / "bertbundle" / "wire" / "_wire_pb2.pyi").read_text(encoding="utf-8")
    for name in OFFICIAL:
        assert f"class {name.split('.')[-1]}(" in stub
        for field in ours(name).DESCRIPTOR.fields:
            assert f"{field.name.upper()}_FIELD_NUMBER" in stub


@slow
@pytest.mark.parametrize(
    "order",
    [
        pytest.param(["bertbundle.wire._wire_pb2", "tensorflow_serving.apis.predict_pb2"], id="ours-first"),
        pytest.param(["tensorflow_serving.apis.predict_pb2", "bertbundle.wire._wire_pb2"], id="theirs-first"),
    ],
)
def test_one_process_holds_both(order: list[str]) -> None:
    """Our messages and TensorFlow's live in one process, whichever comes first."""
    code = "\n".join(f"import {module}" for module in order) + (
        "\nfrom bertbundle.wire import _wire_pb2 as ours"
        "\nfrom tensorflow_serving.apis.predict_pb2 import PredictRequest"
        "\nprint(PredictRequest.FromString(ours.PredictRequest(output_filter=['y']).SerializeToString()).output_filter)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "['y']\n"


def test_a_scalar_has_a_shape() -> None:
    """A 0-d tensor says so: its shape is there and has no dimensions."""
    tensor = encode_tensor(np.array(1, np.float32))
    assert tensor.HasField("tensor_shape")
    assert not tensor.tensor_shape.dim
