"""The models of a server, found by name, version or label, and kept in step with the disk."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bertbundle_serving.config.models import ModelConfig
from bertbundle_serving.errors import RequestError, ServeError
from bertbundle_serving.repository.model import Loading, Model
from bertbundle_serving.repository.version import State, Version, VersionStatus

__all__ = ["ModelRef", "Repository", "RepositoryOptions"]


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


@dataclass(frozen=True, slots=True)
class RepositoryOptions:
    """How models are kept.

    Attributes:
        poll_seconds: time between two looks at the disk; 0 looks once, negative never looks.
        load_threads: models that are loaded at a time.
        labels_for_unavailable: whether a new label may point to a version that is not available.
    """

    poll_seconds: float = 1.0
    load_threads: int = 1
    labels_for_unavailable: bool = False


class Repository:
    """Every model of the server."""

    def __init__(
        self, configs: Iterable[ModelConfig], loading: Loading, options: RepositoryOptions | None = None
    ) -> None:
        self._loading = loading
        self._options = options or RepositoryOptions()
        self._changing = threading.Lock()
        # Replaced as a whole, never changed: requests read it without a lock.
        self.models: Mapping[str, Model] = {config.name: Model(config, loading) for config in configs}
        self._gone: dict[str, Model] = {}

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
        """Return the status of the versions a request names, newest first; also of a model that was removed.

        Raises:
            RequestError: as `use`, but NOT_FOUND only for a version or model never seen.
        """
        ref = self._resolve(ref)
        model = self.models.get(ref.name) or self._gone.get(ref.name)
        found = [s for s in (model.statuses() if model else []) if ref.version in (None, s.version)]
        if not found:
            what = "any versions" if ref.version is None else f"version {ref.version}"
            raise RequestError("NOT_FOUND", f"Could not find {what} of model {ref.name}")
        return found

    def start(self) -> None:
        """Load every model, then poll.

        Raises:
            ServeError: nothing will mend by waiting: versions are there but none loads, or a label points to one that
                is not available.
        """
        if self._options.poll_seconds >= 0:
            self._load(self.models.values())
        if self._options.poll_seconds > 0:
            self._poll(self.models.values())

    def refresh(self) -> None:
        """Look at the disk once, for every model."""
        with ThreadPoolExecutor(max(1, self._options.load_threads), thread_name_prefix="load") as pool:
            list(pool.map(Model.refresh, self.models.values()))

    def reconfigure(self, configs: Sequence[ModelConfig]) -> None:
        """Serve these models instead. New ones are loaded before anything else changes.

        Raises:
            ServeError: as `start`; then everything stays as it was.
        """
        with self._changing:
            before = self.models
            moved = {c.name for c in configs if c.name in before and before[c.name].config.base_path != c.base_path}
            for config in configs:
                self._loading.check(config)
            fresh = {c.name: Model(c, self._loading) for c in configs if c.name not in before or c.name in moved}
            try:
                self._load(fresh.values())
                for config in configs:
                    if config.name not in fresh:
                        self._check_labels(before[config.name], config, before[config.name].config.labels)
            except ServeError:
                _close(fresh.values())
                raise
            self.models = {c.name: fresh.get(c.name) or before[c.name] for c in configs}
            for config in configs:
                if config.name not in fresh:
                    before[config.name].configure(config)
            if self._options.poll_seconds > 0:
                self._poll(fresh.values())
            gone = [model for name, model in before.items() if self.models.get(name) is not model]
            _close(gone)
            self._gone = {**self._gone, **{model.config.name: model for model in gone}}

    def close(self, wait_seconds: float | None = None) -> bool:
        """Stop polling and unload everything; tell whether a load still runs after that time."""
        return _close(self.models.values(), wait_seconds)

    def _load(self, models: Iterable[Model]) -> None:
        models = list(models)
        with ThreadPoolExecutor(max(1, self._options.load_threads), thread_name_prefix="load") as pool:
            list(pool.map(Model.refresh, models))
        for model in models:
            self._check_loaded(model)

    def _poll(self, models: Iterable[Model]) -> None:
        for model in models:
            model.start_polling(self._options.poll_seconds)

    def _check_loaded(self, model: Model) -> None:
        statuses = model.statuses()
        if statuses and not _available(statuses):
            raise ServeError(_none_loads(model, statuses))
        self._check_labels(model, model.config)

    def _check_labels(self, model: Model, config: ModelConfig, before: Mapping[str, int] | None = None) -> None:
        """Check that labels point to what is available; those of `before`, whatever the options let new ones do."""
        labels = config.labels
        if self._options.labels_for_unavailable:
            labels = {name: version for name, version in labels.items() if (before or {}).get(name, version) != version}
        for version in sorted(set(labels.values()) - _available(model.statuses())):
            raise ServeError(
                f"Request to assign label to version {version} of model {config.name}, which is not currently "
                "available for inference"
            )

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


def _available(statuses: Iterable[VersionStatus]) -> set[int]:
    return {status.version for status in statuses if status.state == State.AVAILABLE}


def _close(models: Iterable[Model], wait_seconds: float | None = None) -> bool:
    """Close models, all within that time, and tell whether one still loads."""
    end = None if wait_seconds is None else time.monotonic() + wait_seconds
    left = [model.close(None if end is None else max(0.0, end - time.monotonic())) for model in list(models)]
    return any(left)


def _none_loads(model: Model, statuses: Sequence[VersionStatus]) -> str:
    newest = statuses[0]
    return (
        f"no version of model {model.config.name} in {model.config.base_path} loads; version {newest.version}: "
        f"{newest.message.rstrip('.')}. Mend or remove it."
    )
