"""One model on a server as a client knows it: its manifest and tokenizer, loaded on first use.

What a client does is written as flows: generators that yield the Predict calls they need, and are sent the answers.
They do no I/O, so the sync and the async client run the same ones.
"""

from __future__ import annotations

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
"""Yields calls to make, in any order or at the same time; is sent their answers in the order of the calls."""
_MAX_LOADS = 3


class Session:
    """One model on a server: what is loaded of it, and how to load it.

    Attributes:
        settings: how to call the model.
        loaded: the version that was loaded last; None before the first request.
        external: whether the model was described by the caller because it is not a bundle; it is then never reloaded.
    """

    def __init__(self, settings: CallSettings, external: LoadedModel | None = None) -> None:
        """Load nothing yet, or use `external`, the description of a model that cannot describe itself."""
        self.settings = settings
        self.loaded = external
        self.external = external is not None

    def manifest(self) -> Flow[Manifest]:
        """Return the manifest, requested from the server on first use."""
        model = self.loaded or (yield from self.load())
        return model.manifest

    def load(self) -> Flow[LoadedModel]:
        """Request manifest and tokenizer from the server; an external model stays as it is.

        Raises:
            ServerError: the answer is not that of a bundle.
            ManifestError: the manifest or the tokenizer cannot be read.
        """
        if self.loaded and self.external:
            return self.loaded
        row = {"row": np.zeros(1, np.int32)}
        (prediction,) = yield [PredictCall(self.settings.model, BUNDLE_INFO, row, BUNDLE_INFO_OUTPUTS)]
        check_outputs(prediction, BUNDLE_INFO_OUTPUTS, 1)
        self.loaded = load_bundle_info(prediction)
        return self.loaded

    def load_other_version(self, model: LoadedModel) -> Flow[LoadedModel]:
        """Load until a version other than that of `model` answers, at most three times."""
        found = model
        for _ in range(_MAX_LOADS):
            found = yield from self.load()
            if found.version != model.version:
                break
        return found
