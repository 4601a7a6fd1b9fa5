"""TensorFlow Serving's gRPC services: from the bytes of a request to the bytes of its response."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message
from google.protobuf.wrappers_pb2 import Int64Value

from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.tensors import encode_tensors
from bertbundle_serving.config.models import to_model_configs
from bertbundle_serving.dataplane.admission import AdmissionControl, RequestInfo
from bertbundle_serving.engine.engine import Engine
from bertbundle_serving.errors import RequestError, ServeError, invalid_argument
from bertbundle_serving.grpc_api.metadata import check_metadata_fields, encode_signatures, encode_status
from bertbundle_serving.grpc_api.services import SERVICES
from bertbundle_serving.protos import _api_pb2 as api
from bertbundle_serving.repository.repository import Repository
from bertbundle_serving.repository.version import Version
from bertbundle_serving.repository.version_labels import ModelRef
from bertbundle_serving.requests.call import SignatureCall, read_call
from bertbundle_serving.requests.examples import (
    CLASSIFY_METHOD,
    REGRESS_METHOD,
    count_examples,
    read_example_call,
    read_multi_inference_calls,
    to_classifications,
    to_regressions,
)
from bertbundle_serving.requests.outputs import pack_strings
from bertbundle_serving.runtimes.base import Outputs

__all__ = ["MAX_ERROR_LENGTH", "Servicer", "truncate_error"]

# Source: tensorflow_serving/model_servers/grpc_status_util.cc, kErrorMessageLimit.
MAX_ERROR_LENGTH = 1024
_TRUNCATED = "...TRUNCATED"

_Method = Callable[[Any], Awaitable[Message]]


class Servicer:
    """Implements the methods of PredictionService and ModelService.

    Args:
        repository: the models.
        engine: computes calls.
        admission: limits and records requests.
        tensor_content: whether responses use ``tensor_content``; otherwise they use the ``*_val`` fields, as those of
            TensorFlow Serving.
    """

    def __init__(
        self, repository: Repository, engine: Engine, admission: AdmissionControl, *, tensor_content: bool = False
    ) -> None:
        self._repository = repository
        self._engine = engine
        self._admission = admission
        self._tensor_content = tensor_content
        self._methods: Mapping[str, _Method] = {
            "Predict": self._predict,
            "Classify": self._classify,
            "Regress": self._regress,
            "MultiInference": self._multi_inference,
            "GetModelMetadata": self._get_model_metadata,
            "GetModelStatus": self._get_model_status,
            "HandleReloadConfigRequest": self._reload_config,
        }

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """Return the handlers to register with a gRPC server, which answers other methods with UNIMPLEMENTED."""
        return tuple(
            grpc.method_handlers_generic_handler(
                service,
                {
                    name: grpc.unary_unary_rpc_method_handler(self._handler(name, types.request))
                    for name, types in methods.items()
                },
            )
            for service, methods in SERVICES.items()
        )

    def _handler(self, name: str, request_type: type[Message]) -> Callable[[bytes, Any], Awaitable[bytes]]:
        method = self._methods[name]

        async def handle(data: bytes, context: Any) -> bytes:
            try:
                request = _parse(request_type, data)
                with self._admission.admit(RequestInfo(_model_name(request), name, "GRPC", len(data))):
                    response = await asyncio.wait_for(method(request), context.time_remaining())
                    return response.SerializeToString()
            except RequestError as error:
                await context.abort(grpc.StatusCode[error.code], truncate_error(error.message))
                raise  # not reached: abort raises

        return handle

    async def _predict(self, request: wire.PredictRequest) -> wire.PredictResponse:
        """Compute the outputs of a signature."""
        ref = _model_ref(request)
        with self._repository.acquire(ref) as version:
            call = read_call(request, version.signatures)
            outputs = await self._engine.submit(version, call)
        tensors = encode_tensors(outputs, as_content=self._tensor_content)
        if self._tensor_content:
            for tensor in tensors.values():
                if tensor.string_val:
                    pack_strings(tensor)
        return wire.PredictResponse(outputs=tensors, model_spec=_model_spec(version, call.signature))

    async def _classify(self, request: api.ClassificationRequest) -> api.ClassificationResponse:
        """Compute the classes of tf.Examples."""
        outputs, model_spec = await self._compute_examples(request, CLASSIFY_METHOD)
        result = to_classifications(outputs, count_examples(request.input))
        return api.ClassificationResponse(result=result, model_spec=model_spec)

    async def _regress(self, request: api.RegressionRequest) -> api.RegressionResponse:
        """Compute a number for each tf.Example."""
        outputs, model_spec = await self._compute_examples(request, REGRESS_METHOD)
        result = to_regressions(outputs, count_examples(request.input))
        return api.RegressionResponse(result=result, model_spec=model_spec)

    async def _compute_examples(
        self, request: api.ClassificationRequest | api.RegressionRequest, method: str
    ) -> tuple[Outputs, wire.ModelSpec]:
        with self._repository.acquire(_model_ref(request)) as version:
            call = read_example_call(version.signatures, request.model_spec.signature_name, method, request.input)
            return await self._engine.submit(version, call), _model_spec(version, call.signature)

    async def _multi_inference(self, request: api.MultiInferenceRequest) -> api.MultiInferenceResponse:
        """Compute several signatures of one version on the same tf.Examples."""
        has_model = request.tasks and request.tasks[0].HasField("model_spec")
        with self._repository.acquire(_model_ref(request.tasks[0]) if has_model else ModelRef("")) as version:
            calls = read_multi_inference_calls(version.signatures, request)
            results = await asyncio.gather(*[self._compute(version, call) for call in calls])
        rows = count_examples(request.input)
        response = api.MultiInferenceResponse()
        for task, call, outputs in zip(request.tasks, calls, results, strict=True):
            result = response.results.add(model_spec=_model_spec(version, call.signature))
            if task.method_name == CLASSIFY_METHOD:
                result.classification_result.CopyFrom(to_classifications(outputs, rows))
            else:
                result.regression_result.CopyFrom(to_regressions(outputs, rows))
        return response

    async def _compute(self, version: Version, call: SignatureCall) -> Outputs:
        return await self._engine.submit(version, call)

    async def _get_model_metadata(self, request: wire.GetModelMetadataRequest) -> wire.GetModelMetadataResponse:
        """Return the signatures of a model."""
        ref = _model_ref(request)
        check_metadata_fields(request)
        with self._repository.acquire(ref) as version:
            return wire.GetModelMetadataResponse(
                model_spec=_model_spec(version), metadata=encode_signatures(version.signatures)
            )

    async def _get_model_status(self, request: wire.GetModelStatusRequest) -> wire.GetModelStatusResponse:
        """Return the status of a model's versions."""
        statuses = self._repository.statuses(_model_ref(request))
        return wire.GetModelStatusResponse(model_version_status=[encode_status(status) for status in statuses])

    async def _reload_config(self, request: wire.ReloadConfigRequest) -> wire.ReloadConfigResponse:
        """Serve the models of another configuration; respond when they are loaded."""
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid_argument(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported"
            )
        try:
            configs = to_model_configs(request.config)
        except ValueError as error:
            raise invalid_argument(str(error)) from error
        try:
            await asyncio.to_thread(self._repository.reconfigure, configs)
        except ServeError as error:
            raise RequestError("FAILED_PRECONDITION", str(error)) from error
        return wire.ReloadConfigResponse(status=wire.Status())


def truncate_error(message: str) -> str:
    """Truncate an error message as TensorFlow Serving does, so that it fits into the response headers.

    >>> truncate_error("x" * 2000)[-14:]
    'xx...TRUNCATED'
    """
    return message if len(message) <= MAX_ERROR_LENGTH else message[:MAX_ERROR_LENGTH] + _TRUNCATED


def _parse(request_type: type[Message], data: bytes) -> Message:
    try:
        return request_type.FromString(data)
    except DecodeError as error:
        raise invalid_argument(f"the request is not a valid {request_type.DESCRIPTOR.name} message") from error


def _model_name(request: Any) -> str:
    """Return the model that a request names; "" if it names none."""
    if isinstance(request, wire.ReloadConfigRequest):
        return ""
    if isinstance(request, api.MultiInferenceRequest):
        return request.tasks[0].model_spec.name if request.tasks else ""
    return str(request.model_spec.name)


def _model_ref(request: Any) -> ModelRef:
    """Return the model and the version that a request's `model_spec` names."""
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    spec = request.model_spec
    choice = spec.WhichOneof("version_choice")
    return ModelRef(
        spec.name,
        spec.version.value if choice == "version" else None,
        spec.version_label if choice == "version_label" else None,
    )


def _model_spec(version: Version, signature: str = "") -> wire.ModelSpec:
    """Return the `model_spec` of a response: the version that computed it."""
    return wire.ModelSpec(name=version.model, version=Int64Value(value=version.number), signature_name=signature)
