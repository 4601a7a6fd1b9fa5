"""KServe's Open Inference Protocol (version 2) over gRPC: the same core as over REST, with messages instead of JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc

from bertbundle import __version__
from bertbundle_gateway.compatible_apis.open_inference_messages import read_inference, write_response
from bertbundle_gateway.compatible_apis.open_inference_models import (
    EXTENSIONS,
    PLATFORM,
    SERVER_NAME,
    available_versions,
    infer,
    model_ref,
    model_tensors,
    total_size,
)
from bertbundle_gateway.compatible_apis.open_inference_tensors import convert
from bertbundle_gateway.core.errors import RequestError
from bertbundle_gateway.core.service import TextService
from bertbundle_gateway.grpc_api.calls import unary_handler
from bertbundle_gateway.grpc_api.reflection import INFERENCE_SERVICE
from bertbundle_gateway.protos import _open_inference_pb2 as pb

__all__ = ["open_inference_handler"]

_NOT_READY = ("UNAVAILABLE", "DEADLINE_EXCEEDED")


def open_inference_handler(service: TextService) -> Any:
    """Return the generic handler of GRPCInferenceService, to register with a grpc.aio server."""
    servicer = _Servicer(service)
    methods: Mapping[str, tuple[Any, Any]] = {
        "ServerLive": (pb.ServerLiveRequest, servicer.server_live),
        "ServerReady": (pb.ServerReadyRequest, servicer.server_ready),
        "ModelReady": (pb.ModelReadyRequest, servicer.model_ready),
        "ServerMetadata": (pb.ServerMetadataRequest, servicer.server_metadata),
        "ModelMetadata": (pb.ModelMetadataRequest, servicer.model_metadata),
        "ModelInfer": (pb.ModelInferRequest, servicer.model_infer),
    }
    handlers = {name: unary_handler(request, method) for name, (request, method) in methods.items()}
    return grpc.method_handlers_generic_handler(INFERENCE_SERVICE, handlers)


class _Servicer:
    def __init__(self, service: TextService) -> None:
        self._service = service

    async def server_live(self, request: pb.ServerLiveRequest, timeout: float | None) -> pb.ServerLiveResponse:
        """Say that the server answers."""
        del request, timeout
        return pb.ServerLiveResponse(live=True)

    async def server_ready(self, request: pb.ServerReadyRequest, timeout: float | None) -> pb.ServerReadyResponse:
        """Say whether all configured models are ready."""
        del request
        readiness = await self._service.probes.readiness(timeout=self._seconds(timeout))
        return pb.ServerReadyResponse(ready=not readiness.reason)

    async def model_ready(self, request: pb.ModelReadyRequest, timeout: float | None) -> pb.ModelReadyResponse:
        """Say whether a model is ready."""
        ref = model_ref(request.name, request.version or None)
        try:
            await self._service.probes.check(ref, timeout=self._seconds(timeout))
        except RequestError as error:
            if error.code not in _NOT_READY:
                raise
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    async def server_metadata(
        self, request: pb.ServerMetadataRequest, timeout: float | None
    ) -> pb.ServerMetadataResponse:
        """Describe the server."""
        del request, timeout
        return pb.ServerMetadataResponse(name=SERVER_NAME, version=__version__, extensions=EXTENSIONS)

    async def model_metadata(self, request: pb.ModelMetadataRequest, timeout: float | None) -> pb.ModelMetadataResponse:
        """Describe the inputs and outputs of a model for texts."""
        info = await self._service.describe(model_ref(request.name, request.version or None), timeout=timeout)
        inputs, outputs = model_tensors(info.manifest)
        response = pb.ModelMetadataResponse(name=request.name, versions=available_versions(info), platform=PLATFORM)
        for tensors, described in ((response.inputs, inputs), (response.outputs, outputs)):
            for tensor in described:
                tensors.add(**tensor)
        return response

    async def model_infer(self, request: pb.ModelInferRequest, timeout: float | None) -> pb.ModelInferResponse:
        """Compute the outputs of a model."""
        inference = await convert(request.ByteSize(), read_inference, request, self._seconds(timeout))
        outputs, version = await infer(self._service, inference)
        return await convert(total_size(outputs), write_response, request, outputs, version)

    def _seconds(self, timeout: float | None) -> float:
        """Return the seconds that a request may take, also if its caller has no deadline."""
        return self._service.timeout if timeout is None else timeout
