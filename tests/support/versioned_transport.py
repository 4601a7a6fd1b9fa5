"""A transport of a model whose versions and labels answer differently."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bertbundle.contract.types import PredictCall, Prediction, VersionStatus
from bertbundle.errors import InvalidRequest, ModelNotFound
from fakes import LABEL_IDS, FakeAsyncTransport, Model

__all__ = ["AsyncVersionedTransport", "VersionedTransport", "model", "other_model"]


def model(version: int) -> Model:
    """Return a version of the small tagger."""
    return Model(version=version)


def other_model(version: int) -> Model:
    """Return a version that finds no places: it disagrees about texts that have one."""
    return Model(
        version=version,
        overrides={"label_ids": lambda arrays: LABEL_IDS[arrays["input_ids"]] * (LABEL_IDS[arrays["input_ids"]] < 3)},
    )


class VersionedTransport:
    """Answers with the version that a call names.

    Attributes:
        models: the versions by number; the highest one is the newest.
        labels: version numbers by label.
        answered: the version of each call so far, in order.
        gate: calls wait until it is set.
        closed: whether `close` was called.
    """

    def __init__(self, *models: Model, labels: Mapping[str, int] | None = None) -> None:
        self.models = {each.version: each for each in models}
        self.labels = dict(labels or {})
        self.answered: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.closed = False

    def predict(self, call: PredictCall, *, timeout: float, cancel: Any = None) -> Prediction:
        """See `Transport.predict`."""
        del cancel
        self.gate.wait(timeout)
        number = self.labels.get(call.version) if isinstance(call.version, str) else call.version
        if isinstance(call.version, str) and number is None:
            details = f"Unrecognized servable version label: {call.version}"
            raise InvalidRequest(details, code="INVALID_ARGUMENT", details=details)
        found = self.models.get(max(self.models) if number is None else number)
        if found is None:
            raise ModelNotFound(f"Servable not found for request: Specific(tiny, {number})", code="NOT_FOUND")
        self.answered.append(found.version)
        return Prediction(found.run(call.signature, call.inputs, call.outputs), found.version)

    def status(self, model: str, *, timeout: float) -> list[VersionStatus]:
        """See `Transport.status`."""
        del model, timeout
        return [VersionStatus(number, "AVAILABLE", "OK", "") for number in self.models]

    def close(self) -> None:
        """See `Transport.close`."""
        self.closed = True
        self.gate.set()


class AsyncVersionedTransport(FakeAsyncTransport):
    """`VersionedTransport` with coroutines."""

    def __init__(self, *models: Model, labels: Mapping[str, int] | None = None) -> None:
        super().__init__()
        self.versions = VersionedTransport(*models, labels=labels)

    async def predict(self, call: PredictCall, *, timeout: float) -> Prediction:
        """See `AsyncTransport.predict`."""
        await asyncio.sleep(0)
        return self.versions.predict(replace(call), timeout=timeout)
