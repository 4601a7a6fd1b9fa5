"""The models of this server as those of a gateway: its calls go to the engine directly."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc
import numpy as np

from bertbundle import AsyncTransport, PredictCall, Prediction, VersionStatus
from bertbundle.wire.status_errors import error_from_status
from bertbundle_gateway.core.models import ClientSettings, Models
from bertbundle_gateway.core.service import TextService
from bertbundle_serving.dataplane.admission import AdmissionControl, RequestInfo
from bertbundle_serving.engine.engine import Engine
from bertbundle_serving.errors import RequestError
from bertbundle_serving.options import ServerOptions
from bertbundle_serving.repository.repository import Repository
from bertbundle_serving.repository.version_labels import ModelRef
from bertbundle_serving.requests.call import find_signature, make_call, read_inputs

__all__ = ["EngineTransport", "make_text_service"]

_ADDRESS = "this server"
_TIMEOUT_SECONDS = 24 * 3600.0
"""The deadline is the caller's, or that of REST requests, as for TensorFlow Serving's API."""


def make_text_service(
    repository: Repository, engine: Engine, admission: AdmissionControl, options: ServerOptions
) -> TextService:
    """Return a service that answers texts with the models of a server, and knows which of them are available."""
    backend = _ServerModels(repository, EngineTransport(repository, engine, admission))
    models = Models(backend, ClientSettings(timeout=_TIMEOUT_SECONDS))
    return TextService(models, options.text_limits, log_requests=options.log_requests)


class EngineTransport:
    """An `AsyncTransport` to the engine of this process: no sockets, no messages. The engine batches, as for gRPC."""

    def __init__(self, repository: Repository, engine: Engine, admission: AdmissionControl) -> None:
        """Compute with an engine; calls are admitted and counted as those of the other APIs."""
        self._repository = repository
        self._engine = engine
        self._admission = admission

    async def predict(self, call: PredictCall, *, timeout: float) -> Prediction:
        """See `Transport.predict`."""
        size = sum(array.nbytes for array in call.inputs.values())
        try:
            with self._admission.admit(RequestInfo(call.model, "Predict", "TEXT", size)):
                return await asyncio.wait_for(self._compute(call), timeout)
        except RequestError as error:
            raise error_from_status(grpc.StatusCode[error.code], error.message, _ADDRESS) from error

    async def _compute(self, call: PredictCall) -> Prediction:
        with self._repository.acquire(_model_ref(call)) as version:
            signature = find_signature(version.signatures, call.signature)
            checked = make_call(signature, read_inputs(signature, call.inputs, np.asarray), call.outputs)
            return Prediction(await self._engine.submit(version, checked), version.number)

    async def status(self, model: str, *, timeout: float) -> list[VersionStatus]:  # noqa: ARG002 - available at once
        """See `Transport.status`."""
        known = self._repository.models.get(model)
        if known is not None and not known.statuses():
            return []  # it waits for its first version
        try:
            statuses = self._repository.statuses(ModelRef(model))
        except RequestError as error:
            raise error_from_status(grpc.StatusCode[error.code], error.message, _ADDRESS) from error
        return [VersionStatus(item.version, item.state.name, item.code, item.message) for item in statuses]

    async def close(self) -> None:
        """See `Transport.close`."""


class _ServerModels:
    """The models of this server, as a `Backend` of the gateway."""

    def __init__(self, repository: Repository, transport: EngineTransport) -> None:
        self._repository = repository
        self._transport = transport

    def transport(self, model: str, *, batches: bool = True) -> AsyncTransport | None:  # noqa: ARG002
        """Return the transport to a model. The engine batches, as for gRPC."""
        return self._transport if model in self._repository.models else None

    def names(self) -> Sequence[str]:
        """Return the names of the models."""
        return list(self._repository.models)

    async def close(self) -> None:
        """Do nothing: the server closes its models."""


def _model_ref(call: PredictCall) -> ModelRef:
    """Return the version of a call, by its number or its label."""
    if isinstance(call.version, str):
        return ModelRef(call.model, label=call.version)
    return ModelRef(call.model, call.version)
