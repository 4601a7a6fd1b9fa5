"""The models of a server, found by name, version or label, and kept in step with the disk."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bertbundle.errors import ServeError
from bertbundle_serving.errors import RequestError
from bertbundle_serving.model import Model
from bertbundle_serving.version import State, Version, VersionStatus

__all__ = ["ModelRef", "Repository"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelRef:
    """Which model and version a request names.

    Attributes:
        name: model name.
        version: version number; None takes the newest, unless a label is given.
        label: version label; None for none.
    """

    name: str
    version: int | None = None
    label: str | None = None

    def __str__(self) -> str:
        """Return how TensorFlow Serving writes it: ``Latest(bert)`` or ``Specific(bert, 99)``."""
        return f"Latest({self.name})" if self.version is None else f"Specific({self.name}, {self.version})"


class Repository:
    """Every model of the server."""

    def __init__(self, models: Sequence[Model]) -> None:
        self.models: dict[str, Model] = {model.config.name: model for model in models}
        self._stop = threading.Event()
        self._poller: threading.Thread | None = None

    @contextlib.contextmanager
    def use(self, ref: ModelRef) -> Iterator[Version]:
        """Hold the version a request names, for as long as the context lasts.

        Raises:
            RequestError: INVALID_ARGUMENT, no name or an unknown label; NOT_FOUND, not available.
        """
        ref = self._resolve(ref)
        model = self.models.get(ref.name)
        version = model.acquire(ref.version) if model else None
        if version is None:
            raise RequestError("NOT_FOUND", f"Servable not found for request: {ref}")
        try:
            yield version
        finally:
            version.release()

    def statuses(self, ref: ModelRef) -> list[VersionStatus]:
        """Return the status of the versions a request names, newest first.

        Raises:
            RequestError: as `use`, but NOT_FOUND only for a version or model never seen.
        """
        ref = self._resolve(ref)
        model = self.models.get(ref.name)
        found = [s for s in (model.statuses() if model else []) if ref.version in (None, s.version)]
        if not found:
            what = "any versions" if ref.version is None else f"version {ref.version}"
            raise RequestError("NOT_FOUND", f"Could not find {what} of model {ref.name}")
        return found

    def refresh(self) -> None:
        """Look at the disk once, for every model."""
        for model in self.models.values():
            _refresh(model)

    def check_started(self) -> None:
        """Check after the first `refresh` that nothing is wrong that waiting will not mend.

        Raises:
            ServeError: versions are there but none loads, or a label points to one that is not available.
        """
        for model in self.models.values():
            statuses = model.statuses()
            available = {status.version for status in statuses if status.state == State.AVAILABLE}
            if statuses and not available:
                raise ServeError(_none_loads(model, statuses))
            for version in sorted(set(model.config.labels.values()) - available):
                raise ServeError(
                    f"Request to assign label to version {version} of model {model.config.name}, which is not "
                    "currently available for inference. Correct version_labels or model_version_policy."
                )

    def start_polling(self, seconds: float) -> None:
        """Call `refresh` every so many seconds in a thread of its own, until `close`."""
        self._poller = threading.Thread(target=self._poll, args=(seconds,), name="repository-poll", daemon=True)
        self._poller.start()

    def close(self) -> None:
        """Stop polling and unload everything."""
        self._stop.set()
        if self._poller is not None:
            self._poller.join()
        for model in self.models.values():
            model.close()

    def _poll(self, seconds: float) -> None:
        while not self._stop.wait(seconds):
            self.refresh()

    def _resolve(self, ref: ModelRef) -> ModelRef:
        if not ref.name:
            raise RequestError("INVALID_ARGUMENT", "ModelSpec has no name specified.")
        if ref.label is None:
            return ref
        model = self.models.get(ref.name)
        version = model.config.labels.get(ref.label) if model else None
        if version is None:
            raise RequestError("INVALID_ARGUMENT", f"Unrecognized servable version label: {ref.label}")
        return ModelRef(ref.name, version)


def _refresh(model: Model) -> None:
    try:
        model.refresh()
    except Exception:  # the poller must outlive a surprise in one model
        _logger.exception("model %s could not be refreshed", model.config.name)


def _none_loads(model: Model, statuses: Sequence[VersionStatus]) -> str:
    newest = statuses[0]
    return (
        f"no version of model {model.config.name} in {model.config.base_path} loads; version {newest.version}: "
        f"{newest.message.rstrip('.')}. Mend or remove it."
    )
