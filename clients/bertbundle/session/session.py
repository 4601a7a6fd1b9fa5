"""The state of one served model: its manifest and tokenizer, loaded on first use.

The client's logic is written as flows: generators that yield Predict calls and are sent the predictions. Flows do no
I/O, so the sync and the async client run the same ones.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Generator, Sequence
from typing import TypeAlias, TypeVar

import numpy as np

from bertbundle.contract.manifest import BUNDLE_INFO, Manifest
from bertbundle.contract.types import PredictCall, Prediction
from bertbundle.decoding.loaded_model import BUNDLE_INFO_OUTPUTS, LoadedModel, load_bundle_info
from bertbundle.session.batches import CallSettings, check_outputs

__all__ = ["Flow", "Session"]

T = TypeVar("T")
Flow: TypeAlias = Generator[Sequence[PredictCall], Sequence[Prediction], T]
"""Yields calls that may be made concurrently; is sent their predictions, in the order of the calls."""
_MAX_LOADS = 3


class Session:
    """The state of one model on a server.

    Attributes:
        settings: how to call the model.
        loaded: the version that was loaded last; None before the first request.
        external: whether the caller described the model, because it is not a bundle; it is then never reloaded.
    """

    def __init__(self, settings: CallSettings, external: LoadedModel | None = None) -> None:
        """Create a session that loads the model on first use, or that uses `external`, the caller's description."""
        self.settings = settings
        self.loaded = external
        self.external = external is not None
        self._parsed: tuple[tuple[int, bytes], LoadedModel] | None = None
        self._parsing = threading.Lock()

    def manifest(self) -> Flow[Manifest]:
        """Return the manifest; request it from the server on first use."""
        model = self.loaded or (yield from self.load())
        return model.manifest

    def load(self) -> Flow[LoadedModel]:
        """Request manifest and tokenizer from the server, unless the model is external.

        Raises:
            ServerError: the response is not the `bundle_info` of a bundle.
            ManifestError: the manifest or the tokenizer cannot be read.
        """
        if self.loaded and self.external:
            return self.loaded
        row = {"row": np.zeros(1, np.int32)}
        call = PredictCall(self.settings.model, BUNDLE_INFO, row, BUNDLE_INFO_OUTPUTS, self.settings.version)
        (prediction,) = yield [call]
        check_outputs(prediction, BUNDLE_INFO_OUTPUTS, 1)
        self.loaded = self._parse(prediction)
        return self.loaded

    def _parse(self, prediction: Prediction) -> LoadedModel:
        """Return the model of a `bundle_info`. One that another call has just parsed is not parsed again.

        Many calls may ask for it at the same time, when the first ones are made and when the version changes, and to
        parse a tokenizer takes some 30 ms.
        """
        digest = _digest(prediction)
        with self._parsing:  # several threads advance the flows of one client
            parsed = self._parsed
            if parsed is None or parsed[0] != digest:
                parsed = self._parsed = digest, load_bundle_info(prediction)
        return parsed[1]

    def load_other_version(self, model: LoadedModel) -> Flow[LoadedModel]:
        """Load the model until its version differs from that of `model`, at most three times."""
        loaded = model
        for _ in range(_MAX_LOADS):
            loaded = yield from self.load()
            if loaded.version != model.version:
                break
        return loaded


def _digest(prediction: Prediction) -> tuple[int, bytes]:
    """Return what tells a `bundle_info` from others: its version and a hash of its contents."""
    contents = hashlib.sha256()
    for name in BUNDLE_INFO_OUTPUTS:
        value = prediction.outputs[name][0]
        contents.update(value if isinstance(value, bytes) else repr(value).encode())
    return prediction.version, contents.digest()
