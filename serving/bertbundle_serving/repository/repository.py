"""The models of a server, found by name, version or label, and kept in sync with the configuration."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bertbundle_serving.config.models import ModelConfig
from bertbundle_serving.errors import RequestError, ServeError, invalid_argument
from bertbundle_serving.repository.model import LoadOptions, Model
from bertbundle_serving.repository.version import ModelVersionStatus, Version, VersionState
from bertbundle_serving.repository.version_labels import ModelRef, check_labels, resolve_label

__all__ = ["Repository", "RepositoryOptions"]


@dataclass(frozen=True, slots=True)
class RepositoryOptions:
    """How a repository loads and polls its models.

    Attributes:
        poll_seconds: time between scans of the base paths; 0: scan once, negative: never scan.
        load_threads: number of models that are loaded at the same time.
        labels_for_unavailable: whether a new label may point to a version that is not available.
    """

    poll_seconds: float = 1.0
    load_threads: int = 1
    labels_for_unavailable: bool = False


class Repository:
    """All models of the server.

    Attributes:
        models: the models by name. The mapping is replaced as a whole and never changed, so that requests read it
            without a lock.
    """

    def __init__(
        self, configs: Iterable[ModelConfig], load_options: LoadOptions, options: RepositoryOptions | None = None
    ) -> None:
        self._load_options = load_options
        self._options = options or RepositoryOptions()
        self._reconfiguring = threading.Lock()
        self.models: Mapping[str, Model] = {config.name: Model(config, load_options) for config in configs}
        self._removed: dict[str, Model] = {}

    @contextlib.contextmanager
    def acquire(self, ref: ModelRef) -> Iterator[Version]:
        """Return the version that a request names, as a context manager that keeps it loaded.

        Raises:
            RequestError: INVALID_ARGUMENT, no model name or an unknown label; NOT_FOUND, the version is not available.
        """
        ref = self._resolve(ref)
        version = self._find(ref)
        while version is not None and not version.acquire():  # it was just unloaded: look again
            version = self._find(ref)
        if version is None:
            raise RequestError("NOT_FOUND", f"Servable not found for request: {ref}")
        try:
            yield version
        finally:
            version.release()

    def statuses(self, ref: ModelRef) -> list[ModelVersionStatus]:
        """Return the status of the versions that a request names, newest first. Removed models have a status, too.

        Raises:
            RequestError: INVALID_ARGUMENT, no model name or an unknown label; NOT_FOUND, no such version ever existed.
        """
        ref = self._resolve(ref)
        model = self.models.get(ref.name) or self._removed.get(ref.name)
        statuses = [s for s in (model.statuses() if model else []) if ref.version in (None, s.version)]
        if not statuses:
            missing = "any versions" if ref.version is None else f"version {ref.version}"
            raise RequestError("NOT_FOUND", f"Could not find {missing} of model {ref.name}")
        return statuses

    def start(self) -> None:
        """Load every model, then start polling.

        Raises:
            ServeError: a model has versions on disk but none loads, or a label points to an unavailable version.
        """
        if self._options.poll_seconds >= 0:
            self._load(self.models.values())
        if self._options.poll_seconds > 0:
            self._start_polling(self.models.values())

    def reconfigure(self, configs: Sequence[ModelConfig]) -> None:
        """Serve these models instead of the current ones. New models are loaded before anything else changes.

        Raises:
            ServeError: as for `start`; the repository is then unchanged.
        """
        with self._reconfiguring:
            before = self.models
            for config in configs:
                self._load_options.check(config)
            new = {
                config.name: Model(config, self._load_options)
                for config in configs
                if config.name not in before or before[config.name].config.base_path != config.base_path
            }
            kept = {config.name: before[config.name] for config in configs if config.name not in new}
            self._load_new(new, kept, configs)
            self.models = {config.name: new.get(config.name) or kept[config.name] for config in configs}
            for config in configs:
                if config.name in kept:
                    kept[config.name].configure(config)
            if self._options.poll_seconds > 0:
                self._start_polling(new.values())
            removed = [model for name, model in before.items() if name not in kept]
            _close(removed)
            self._removed = {**self._removed, **{model.config.name: model for model in removed}}

    def close(self, wait_seconds: float | None = None) -> bool:
        """Stop polling and unload all models. Return whether a load is still running after `wait_seconds`."""
        return _close(self.models.values(), wait_seconds)

    def _find(self, ref: ModelRef) -> Version | None:
        model = self.models.get(ref.name)
        versions = {} if model is None else model.versions
        return versions.get(max(versions, default=-1) if ref.version is None else ref.version)

    def _resolve(self, ref: ModelRef) -> ModelRef:
        if not ref.name:
            raise invalid_argument("ModelSpec has no name specified.")
        return ref if ref.label is None else resolve_label(ref, self.models)

    def _load_new(self, new: Mapping[str, Model], kept: Mapping[str, Model], configs: Sequence[ModelConfig]) -> None:
        """Load the new models and check the new labels of the kept ones; if that fails, close the new models again."""
        try:
            self._load(new.values())
            for config in configs:
                if config.name in kept:
                    model = kept[config.name]
                    self._check_labels(model, config.labels, before=model.config.labels)
        except ServeError:
            _close(new.values())
            raise

    def _load(self, models: Iterable[Model]) -> None:
        models = list(models)
        with ThreadPoolExecutor(max(1, self._options.load_threads), thread_name_prefix="load") as pool:
            list(pool.map(Model.refresh, models))
        for model in models:
            _check_loaded(model)
            self._check_labels(model, model.config.labels, before={})

    def _check_labels(self, model: Model, labels: Mapping[str, int], *, before: Mapping[str, int]) -> None:
        check_labels(model, labels, before=before, allow_unavailable=self._options.labels_for_unavailable)

    def _start_polling(self, models: Iterable[Model]) -> None:
        for model in models:
            model.start_polling(self._options.poll_seconds)


def _check_loaded(model: Model) -> None:
    """Check that a version is available if the model has any."""
    statuses = model.statuses()
    if statuses and all(status.state != VersionState.AVAILABLE for status in statuses):
        newest = statuses[0]
        raise ServeError(
            f"no version of model {model.config.name} in {model.config.base_path} can be loaded; version "
            f"{newest.version}: "
            f"{newest.message.rstrip('.')}. Repair or remove it."
        )


def _close(models: Iterable[Model], wait_seconds: float | None = None) -> bool:
    """Close models, within `wait_seconds` in total. Return whether a load is still running."""
    end = None if wait_seconds is None else time.monotonic() + wait_seconds
    running = [model.close(None if end is None else max(0.0, end - time.monotonic())) for model in list(models)]
    return any(running)
