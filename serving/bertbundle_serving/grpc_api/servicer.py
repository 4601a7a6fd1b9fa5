"""TensorFlow Serving's services: wire messages in, wire messages out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import Int64Value

from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.tensors import DATA_TYPES, tensor_shape
from bertbundle_serving.config.models import model_configs
from bertbundle_serving.dataplane.predictor import Answer, Predictor
from bertbundle_serving.errors import CODES, RequestError, ServeError
from bertbundle_serving.protos import _api_pb2 as api
from bertbundle_serving.repository.repository import ModelRef
from bertbundle_serving.repository.version import VersionStatus
from bertbundle_serving.requests.call import read_call
from bertbundle_serving.requests.examples import (
    CLASSIFY_METHOD,
    REGRESS_METHOD,
    classifications,
    example_call,
    multi_call,
    regressions,
)
from bertbundle_serving.requests.outputs import encode_outputs
from bertbundle_serving.runtimes.base import SignatureSpec, TensorSpec

__all__ = ["Servicer"]

_SIGNATURE_DEF = "signature_def"
_SIGNATURE_MAP_URL = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
_DTYPE_NUMBERS = {row.numpy: row.number for row in DATA_TYPES}


class Servicer:
    """Answers the methods of PredictionService and ModelService. Raises RequestError; `services` makes it a status.

    Args:
        predictor: computes.
        tensor_content: whether answers hold ``tensor_content``; else the ``*_val`` fields, as TensorFlow Serving's.
    """

    def __init__(self, predictor: Predictor, *, tensor_content: bool = False) -> None:
        self._predictor = predictor
        self._repository = predictor.repository
        self._tensor_content = tensor_content

    async def predict(self, request: wire.PredictRequest) -> wire.PredictResponse:
        """Compute the outputs of a signature."""
        answer = await self._predictor.run(_model_ref(request), lambda signatures: read_call(request, signatures))
        return wire.PredictResponse(
            outputs=encode_outputs(answer.outputs, as_content=self._tensor_content), model_spec=_answered_by(answer)
        )

    async def classify(self, request: api.ClassificationRequest) -> api.ClassificationResponse:
        """Compute the classes of tf.Examples."""
        answer = await self._examples(request, CLASSIFY_METHOD)
        result = classifications(answer.outputs, _rows(request.input))
        return api.ClassificationResponse(result=result, model_spec=_answered_by(answer))

    async def regress(self, request: api.RegressionRequest) -> api.RegressionResponse:
        """Compute a number for each of tf.Examples."""
        answer = await self._examples(request, REGRESS_METHOD)
        result = regressions(answer.outputs, _rows(request.input))
        return api.RegressionResponse(result=result, model_spec=_answered_by(answer))

    async def multi_inference(self, request: api.MultiInferenceRequest) -> api.MultiInferenceResponse:
        """Compute several signatures of one model on the same tf.Examples, all by the same version."""
        named = request.tasks and request.tasks[0].HasField("model_spec")
        ref = _model_ref(request.tasks[0]) if named else ModelRef("")
        with self._repository.use(ref) as version:
            calls = multi_call(version.servable.signatures, request)
            pinned = ModelRef(ref.name, version.number)
            running = [self._predictor.run(pinned, lambda _, call=call: call) for call in calls]  # type: ignore[misc]
            answers = await asyncio.gather(*running)
        rows = _rows(request.input)
        return api.MultiInferenceResponse(
            results=[_result(task.method_name, a, rows) for task, a in zip(request.tasks, answers, strict=True)]
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

    async def reload_config(self, request: api.ReloadConfigRequest) -> api.ReloadConfigResponse:
        """Serve the models of another configuration; it answers when they are loaded."""
        if request.config.WhichOneof("config") != "model_config_list":
            raise RequestError(
                "INVALID_ARGUMENT",
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported",
            )
        try:
            configs = model_configs(request.config)
        except ValueError as error:
            raise RequestError("INVALID_ARGUMENT", str(error)) from error
        try:
            await asyncio.get_running_loop().run_in_executor(None, self._repository.reconfigure, configs)
        except ServeError as error:
            raise RequestError("FAILED_PRECONDITION", str(error)) from error
        return api.ReloadConfigResponse(status=wire.Status())

    async def _examples(self, request: api.ClassificationRequest | api.RegressionRequest, method: str) -> Answer:
        name = request.model_spec.signature_name
        return await self._predictor.run(
            _model_ref(request), lambda signatures: example_call(signatures, name, method, request.input)
        )


def _model_ref(request: Any) -> ModelRef:
    """Return what the request's `model_spec` names."""
    if not request.HasField("model_spec"):
        raise RequestError("INVALID_ARGUMENT", "Missing ModelSpec")
    spec = request.model_spec
    choice = spec.WhichOneof("version_choice")
    return ModelRef(
        spec.name,
        spec.version.value if choice == "version" else None,
        spec.version_label if choice == "version_label" else None,
    )


def _rows(examples: api.Input) -> int:
    return len(getattr(examples, str(examples.WhichOneof("kind"))).examples)


def _result(method: str, answer: Answer, rows: int) -> api.InferenceResult:
    if method == CLASSIFY_METHOD:
        result = classifications(answer.outputs, rows)
        return api.InferenceResult(model_spec=_answered_by(answer), classification_result=result)
    return api.InferenceResult(model_spec=_answered_by(answer), regression_result=regressions(answer.outputs, rows))


def _answered_by(answer: Answer) -> wire.ModelSpec:
    return _model_spec(answer.model, answer.version, answer.signature)


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
        method_name=spec.method,
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
