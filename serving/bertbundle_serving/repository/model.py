"""A model: its loaded versions, kept in sync with the version directories on disk."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bertbundle.errors import BertBundleError
from bertbundle_serving.config.batching_parameters import BatchingParameters
from bertbundle_serving.config.models import ModelConfig
from bertbundle_serving.errors import RequestError
from bertbundle_serving.memory import free_memory
from bertbundle_serving.repository.scanner import Fingerprint, VersionScanner, fingerprint
from bertbundle_serving.repository.version import ModelVersionStatus, Version, VersionState
from bertbundle_serving.runtimes.base import Servable

__all__ = ["LoadOptions", "Model"]

_logger = logging.getLogger(__name__)


def _no_batching_parameters(directory: Path) -> BatchingParameters:
    del directory
    return BatchingParameters()


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How versions are loaded.

    Attributes:
        load: loads a version directory. If it raises, the version is reported as broken.
        batching: returns the batching parameters of a version directory. If it raises, the version is broken, too.
        retries: how many times to retry a broken version whose files do not change.
        retry_seconds: time between attempts.
        check: raises ServeError if a model's base path cannot contain versions.
    """

    load: Callable[[Path], Servable]
    batching: Callable[[Path], BatchingParameters] = _no_batching_parameters
    retries: int = 5
    retry_seconds: float = 60.0
    check: Callable[[ModelConfig], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class _FailedLoad:
    """A version that could not be loaded.

    Attributes:
        files: fingerprint of the directory at the last attempt.
        attempts: number of attempts with these files.
        time: `time.monotonic` of the last attempt.
    """

    files: Fingerprint
    attempts: int
    time: float


class Model:
    """One model of the server. Its methods are thread-safe.

    Attributes:
        config: name, base path, version policy and labels.
        versions: the versions that are served, by number. The mapping is replaced as a whole and never changed, so
            that requests read it without a lock.
    """

    def __init__(self, config: ModelConfig, options: LoadOptions) -> None:
        self.config = config
        self.versions: Mapping[int, Version] = {}
        self._options = options
        self._scanner = VersionScanner(config.base_path)
        self._lock = threading.Lock()  # guards the versions and their statuses
        self._refreshing = threading.Lock()
        self._stop = threading.Event()
        self._poller: threading.Thread | None = None
        self._statuses: dict[int, ModelVersionStatus] = {}
        self._failed: dict[int, _FailedLoad] = {}
        self._last_missing = ""
        self._logged_unlistable = False

    def statuses(self) -> list[ModelVersionStatus]:
        """Return the status of every version found since the start, newest first."""
        with self._lock:
            return [self._statuses[number] for number in sorted(self._statuses, reverse=True)]

    @property
    def failed_versions(self) -> int:
        """Number of versions in the base path that could not be loaded."""
        return len(self._failed)

    def refresh(self) -> None:
        """Scan the base path once: load the versions that the policy now selects, then unload all others.

        A version that fails to load is ignored until it is time to retry it: the policy then selects among the others,
        for example the version served before. So a broken version never replaces a working one, and a restarted server
        serves the same versions as a running one.
        """
        with self._refreshing:
            self._refresh()

    def configure(self, config: ModelConfig) -> None:
        """Apply a new policy and new labels, and refresh. The base path does not change."""
        with self._refreshing:
            self.config = dataclasses.replace(config, base_path=self.config.base_path)
            self._refresh()

    def start_polling(self, seconds: float) -> None:
        """Call `refresh` every `seconds` seconds in a background thread, until `close`."""
        name = f"poll-{self.config.name}"
        self._poller = threading.Thread(target=self._poll, args=(seconds,), name=name, daemon=True)
        self._poller.start()

    def close(self, wait_seconds: float | None = None) -> bool:
        """Stop polling and unload all versions. Return whether a load is still running after `wait_seconds`.

        Args:
            wait_seconds: how long to wait for a running load; None waits until it ends.
        """
        self._stop.set()
        if self._poller is not None:
            self._poller.join(wait_seconds)
        self._unload(set(self.versions))
        return self._poller is not None and self._poller.is_alive()

    def _poll(self, seconds: float) -> None:
        while not self._stop.wait(seconds):
            self._refresh_or_log()

    def _refresh_or_log(self) -> None:
        try:
            self.refresh()
        except Exception:  # an unexpected error must not end the polling
            _logger.exception("model %s could not be refreshed", self.config.name)

    def _refresh(self) -> None:
        try:
            found = self._scanner.versions()
        except OSError as error:
            if not self._logged_unlistable:
                _logger.warning("cannot list %s, keeping the loaded versions: %s", self.config.base_path, error)
            self._logged_unlistable = True
            return
        self._logged_unlistable = False
        self._log_missing(found)
        self._failed = {number: failed for number, failed in self._failed.items() if number in found}
        broken = {number for number in found if self._is_broken(number, found[number])}
        while (new := self._select(found, broken) - self.versions.keys()) and not self._stop.is_set():
            for number in new:
                self._set_status(number, VersionState.START)
            newest = max(new)
            if not self._load(newest, found[newest]):
                broken.add(newest)
        self._unload(self.versions.keys() - self._select(found, broken))

    def _select(self, found: Mapping[int, Path], broken: set[int]) -> frozenset[int]:
        return self.config.policy.select(found.keys() - broken)

    def _is_broken(self, number: int, directory: Path) -> bool:
        """Return whether the version failed to load and must not be retried now."""
        failed = self._failed.get(number)
        if failed is None or failed.files != fingerprint(directory):
            return False
        elapsed = time.monotonic() - failed.time
        return failed.attempts > self._options.retries or elapsed < self._options.retry_seconds

    def _load(self, number: int, directory: Path) -> bool:
        """Load a version and serve it. Return False if it is broken."""
        # Taken before the load, so that a file that changes during the load causes a retry.
        files = fingerprint(directory)
        self._set_status(number, VersionState.LOADING)
        try:
            batching = self._options.batching(directory)
            servable = self._options.load(directory)
        except Exception as error:  # noqa: BLE001  # whatever breaks one version must not break the server
            self._record_failure(number, files, error)
            return False
        self._failed.pop(number, None)
        free_memory()  # loading temporarily needs twice the memory of the weights
        self._publish(
            Version(self.config.name, number, servable, on_close=lambda: self._end(number), batching=batching)
        )
        return True

    def _record_failure(self, number: int, files: Fingerprint, error: Exception) -> None:
        before = self._failed.get(number)
        attempts = before.attempts + 1 if before is not None and before.files == files else 1
        self._failed[number] = _FailedLoad(files, attempts, time.monotonic())
        code, message = _describe(error)
        self._set_status(number, VersionState.END, code, message)
        _logger.error("model %s version %d did not load: %s", self.config.name, number, message)
        if code == "UNKNOWN":
            # At debug level: usually it is a truncated or half-copied file, which the runtime's own message describes.
            _logger.debug("traceback of the failed load", exc_info=error)

    def _publish(self, version: Version) -> None:
        with self._lock:
            is_closed = self._stop.is_set()
            if not is_closed:
                self.versions = {**self.versions, version.number: version}
                self._statuses[version.number] = ModelVersionStatus(version.number, VersionState.AVAILABLE)
        if is_closed:  # while the version was loading
            version.release()
            return
        _logger.info(
            "model %s version %d available: %s", self.config.name, version.number, version.servable.description
        )

    def _unload(self, numbers: set[int]) -> None:
        for number in sorted(numbers):
            with self._lock:
                version = self.versions[number]
                self.versions = {other: self.versions[other] for other in self.versions if other != number}
                self._statuses[number] = ModelVersionStatus(number, VersionState.UNLOADING)
            _logger.info("model %s version %d unloading", self.config.name, number)
            version.release()

    def _set_status(self, number: int, state: VersionState, code: str = "OK", message: str = "") -> None:
        with self._lock:
            self._statuses[number] = ModelVersionStatus(number, state, code, message)

    def _end(self, number: int) -> None:
        with self._lock:
            # The version may have been loaded again while a request was still using the servable loaded before.
            if self._statuses[number].state == VersionState.UNLOADING:
                self._statuses[number] = ModelVersionStatus(number, VersionState.END)
        _logger.info("model %s version %d ended", self.config.name, number)

    def _log_missing(self, found: Mapping[int, Path]) -> None:
        missing = self.config.policy.describe_missing(found)
        if missing and missing != self._last_missing:
            _logger.warning("model %s waits for %s in %s", self.config.name, missing, self.config.base_path)
        self._last_missing = missing


def _describe(error: Exception) -> tuple[str, str]:
    """Return the status code and the message of an error that occurred while loading a version."""
    if isinstance(error, RequestError):
        return error.code, error.message
    if isinstance(error, BertBundleError):
        return "FAILED_PRECONDITION", str(error)
    return "UNKNOWN", f"{type(error).__name__}: {error}"
