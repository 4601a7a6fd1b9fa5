"""Signatures and version states as wire messages."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.any_pb2 import Any as AnyMessage

from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.data_types import DATA_TYPES
from bertbundle.wire.tensors import tensor_shape
from bertbundle_serving.errors import CODES, invalid_argument
from bertbundle_serving.repository.version import ModelVersionStatus
from bertbundle_serving.runtimes.base import SignatureSpec, TensorSpec

__all__ = ["check_metadata_fields", "encode_signatures", "encode_status"]

_SIGNATURE_DEF = "signature_def"
_SIGNATURE_MAP_URL = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
_DTYPE_NUMBERS = {row.numpy: row.number for row in DATA_TYPES}


def check_metadata_fields(request: wire.GetModelMetadataRequest) -> None:
    """Check that a request asks for signatures and nothing else.

    Raises:
        RequestError: INVALID_ARGUMENT, it asks for nothing, or for something else.
    """
    if not request.metadata_field:
        raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
    for name in request.metadata_field:
        if name != _SIGNATURE_DEF:
            raise invalid_argument(f"Metadata field {name} is not supported")


def encode_signatures(signatures: Mapping[str, SignatureSpec]) -> dict[str, AnyMessage]:
    """Return the metadata of a GetModelMetadataResponse."""
    encoded = wire.SignatureDefMap(signature_def={name: _signature_def(spec) for name, spec in signatures.items()})
    return {_SIGNATURE_DEF: AnyMessage(type_url=_SIGNATURE_MAP_URL, value=encoded.SerializeToString())}


def encode_status(status: ModelVersionStatus) -> wire.ModelVersionStatus:
    """Return a version's status as a wire message."""
    return wire.ModelVersionStatus(
        version=status.version,
        state=wire.ModelVersionStatus.State.Name(status.state.value),
        status=wire.Status(error_code=CODES.index(status.code), error_message=status.message),
    )


def _signature_def(spec: SignatureSpec) -> wire.SignatureDef:
    return wire.SignatureDef(
        inputs={name: _tensor_info(tensor) for name, tensor in spec.inputs.items()},
        outputs={name: _tensor_info(tensor) for name, tensor in spec.outputs.items()},
        method_name=spec.method,
    )


def _tensor_info(spec: TensorSpec) -> wire.TensorInfo:
    return wire.TensorInfo(name=spec.feed, dtype=_DTYPE_NUMBERS.get(spec.dtype, 0), tensor_shape=_tensor_shape(spec))


def _tensor_shape(spec: TensorSpec) -> wire.TensorShape:
    if spec.shape is None:
        return wire.TensorShape(unknown_rank=True)
    return tensor_shape([-1 if size is None else size for size in spec.shape])
