"""TensorFlow Serving's services: wire messages in, wire messages out."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import Int64Value

from bertbundle import _wire_pb2 as wire
from bertbundle.tensors import DATA_TYPES, encode_tensors, tensor_shape
from bertbundle_serving.calls import read_call
from bertbundle_serving.engine import Engine
from bertbundle_serving.errors import CODES, RequestError
from bertbundle_serving.repository import ModelRef, Repository
from bertbundle_serving.runtimes.base import SignatureSpec, TensorSpec
from bertbundle_serving.version import VersionStatus

__all__ = ["Servicer"]

_SIGNATURE_DEF = "signature_def"
_SIGNATURE_MAP_URL = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
_METHOD_NAME = "tensorflow/serving/predict"
_DTYPE_NUMBERS = {row.numpy: row.number for row in DATA_TYPES}


class Servicer:
    """Answers the methods of PredictionService and ModelService. Raises RequestError; `services` makes it a status.

    Args:
        repository: the models.
        engine: where computations run.
        tensor_content: whether answers hold ``tensor_content``; else the ``*_val`` fields, as TensorFlow Serving's.
    """

    def __init__(self, repository: Repository, engine: Engine, *, tensor_content: bool = False) -> None:
        self._repository = repository
        self._engine = engine
        self._tensor_content = tensor_content

    async def predict(self, request: wire.PredictRequest) -> wire.PredictResponse:
        """Compute the outputs of a signature."""
        ref = _model_ref(request)
        with self._repository.use(ref) as version:
            call = read_call(request, version.servable.signatures)
            running = self._engine.start(version, call)
        return wire.PredictResponse(
            outputs=encode_tensors(await running, as_content=self._tensor_content),
            model_spec=_model_spec(ref.name, version.number, call.signature),
        )

    async def get_model_metadata(self, request: wire.GetModelMetadataRequest) -> wire.GetModelMetadataResponse:
        """Return the signatures of a model."""
        ref = _model_ref(request)
        _check_metadata_fields(request)
        with self._repository.use(ref) as version:
            signatures = _signature_map(version.servable.signatures)
        packed = AnyMessage(type_url=_SIGNATURE_MAP_URL, value=signatures.SerializeToString())
        return wire.GetModelMetadataResponse(
            model_spec=_model_spec(ref.name, version.number), metadata={_SIGNATURE_DEF: packed}
        )

    async def get_model_status(self, request: wire.GetModelStatusRequest) -> wire.GetModelStatusResponse:
        """Return the state of a model's versions."""
        statuses = self._repository.statuses(_model_ref(request))
        return wire.GetModelStatusResponse(model_version_status=[_status(status) for status in statuses])


def _model_ref(
    request: wire.PredictRequest | wire.GetModelMetadataRequest | wire.GetModelStatusRequest,
) -> ModelRef:
    if not request.HasField("model_spec"):
        raise RequestError("INVALID_ARGUMENT", "Missing ModelSpec")
    spec = request.model_spec
    choice = spec.WhichOneof("version_choice")
    return ModelRef(
        spec.name,
        spec.version.value if choice == "version" else None,
        spec.version_label if choice == "version_label" else None,
    )


def _model_spec(name: str, version: int, signature: str = "") -> wire.ModelSpec:
    return wire.ModelSpec(name=name, version=Int64Value(value=version), signature_name=signature)


def _check_metadata_fields(request: wire.GetModelMetadataRequest) -> None:
    if not request.metadata_field:
        raise RequestError("INVALID_ARGUMENT", "GetModelMetadataRequest must specify at least one metadata_field")
    for name in request.metadata_field:
        if name != _SIGNATURE_DEF:
            raise RequestError("INVALID_ARGUMENT", f"Metadata field {name} is not supported")


def _signature_map(signatures: Mapping[str, SignatureSpec]) -> wire.SignatureDefMap:
    return wire.SignatureDefMap(signature_def={name: _signature_def(spec) for name, spec in signatures.items()})


def _signature_def(spec: SignatureSpec) -> wire.SignatureDef:
    return wire.SignatureDef(
        inputs={name: _tensor_info(tensor) for name, tensor in spec.inputs.items()},
        outputs={name: _tensor_info(tensor) for name, tensor in spec.outputs.items()},
        method_name=_METHOD_NAME,
    )


def _tensor_info(spec: TensorSpec) -> wire.TensorInfo:
    return wire.TensorInfo(name=spec.feed, dtype=_DTYPE_NUMBERS.get(spec.dtype, 0), tensor_shape=_wire_shape(spec))


def _wire_shape(spec: TensorSpec) -> wire.TensorShape:
    if spec.shape is None:
        return wire.TensorShape(unknown_rank=True)
    return tensor_shape([-1 if size is None else size for size in spec.shape])


def _status(status: VersionStatus) -> wire.ModelVersionStatus:
    return wire.ModelVersionStatus(
        version=status.version,
        state=wire.ModelVersionStatus.State.Name(status.state.value),
        status=wire.Status(error_code=CODES.index(status.code), error_message=status.message),
    )
