"""A model: the versions of it that are loaded, and how they follow what is on disk."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bertbundle.errors import BertBundleError
from bertbundle_serving.config.batching_parameters import BatchingParameters
from bertbundle_serving.config.models import ModelConfig
from bertbundle_serving.errors import RequestError
from bertbundle_serving.memory import free_memory
from bertbundle_serving.repository.scanner import Fingerprint, Scanner, fingerprint
from bertbundle_serving.repository.version import State, Version, VersionStatus
from bertbundle_serving.runtimes.base import Servable

__all__ = ["Loading", "Model"]

_logger = logging.getLogger(__name__)


def _no_batching_parameters(directory: Path) -> BatchingParameters:
    del directory
    return BatchingParameters()


@dataclass(frozen=True, slots=True)
class Loading:
    """How versions are loaded.

    Attributes:
        load: loads a version directory and makes it ready for requests; whatever it raises breaks the version.
        batching: gives a version directory's batching parameters; what it raises breaks the version, too.
        retries: how often a broken version whose files do not change is tried again.
        retry_seconds: how long after the last try.
        check: refuses a base path that cannot be served, with a ServeError.
    """

    load: Callable[[Path], Servable]
    batching: Callable[[Path], BatchingParameters] = _no_batching_parameters
    retries: int = 5
    retry_seconds: float = 60.0
    check: Callable[[ModelConfig], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class _Broken:
    """A version that did not load: its files then, how often it was tried, and when last (`time.monotonic`)."""

    files: Fingerprint
    tries: int
    when: float


class Model:
    """One model of the server. Any thread may call any method."""

    def __init__(self, config: ModelConfig, loading: Loading) -> None:
        self.config = config
        self._loading = loading
        self._scanner = Scanner(config.base_path)
        self._lock = threading.Lock()
        self._refreshing = threading.Lock()
        self._stop = threading.Event()
        self._poller: threading.Thread | None = None
        self._serving: dict[int, Version] = {}
        self._statuses: dict[int, VersionStatus] = {}
        self._broken: dict[int, _Broken] = {}
        self._told_wanted = ""
        self._told_unlisted = False

    def acquire(self, number: int | None = None) -> Version | None:
        """Return a version that is available, held for the caller: the newest, or the one with the number."""
        with self._lock:
            if number is None:
                number = max(self._serving, default=-1)
            version = self._serving.get(number)
            if version is not None:
                version.hold()
            return version

    def statuses(self) -> list[VersionStatus]:
        """Return the status of every version seen since the start, newest first."""
        with self._lock:
            return [self._statuses[number] for number in sorted(self._statuses, reverse=True)]

    def refresh(self) -> None:
        """Look at the disk once: load what the policy now wants, then unload what it no longer wants.

        A version that does not load counts as absent until its files change: the policy then picks the next best,
        which is the one that was served before. So a broken version never takes a working one away, and a restart
        ends where the running server is.
        """
        with self._refreshing:
            self._refresh()

    def configure(self, config: ModelConfig) -> None:
        """Take another policy and other labels, and look at the disk. The base path stays."""
        with self._refreshing:
            self.config = dataclasses.replace(config, base_path=self.config.base_path)
            self._refresh()

    def start_polling(self, seconds: float) -> None:
        """Call `refresh` every so many seconds in a thread of its own, until `close`."""
        name = f"poll-{self.config.name}"
        self._poller = threading.Thread(target=self._poll, args=(seconds,), name=name, daemon=True)
        self._poller.start()

    def close(self, wait_seconds: float | None = None) -> bool:
        """Stop polling and unload everything; tell whether a load still runs after that time (None: however long)."""
        self._stop.set()
        if self._poller is not None:
            self._poller.join(wait_seconds)
        self._retire(set(self._serving))
        return self._poller is not None and self._poller.is_alive()

    def _poll(self, seconds: float) -> None:
        while not self._stop.wait(seconds):
            self._refresh_anyway()

    def _refresh_anyway(self) -> None:
        try:
            self.refresh()
        except Exception:  # the poller must outlive a surprise
            _logger.exception("model %s could not be refreshed", self.config.name)

    def _refresh(self) -> None:
        try:
            found = self._scanner.versions()
        except OSError as error:
            if not self._told_unlisted:
                _logger.warning("cannot list %s, keeping what is loaded: %s", self.config.base_path, error)
            self._told_unlisted = True
            return
        self._told_unlisted = False
        self._tell_wanted(found)
        broken = {number for number in found if self._still_broken(number, found[number])}
        while (missing := self._choose(found, broken) - self._serving.keys()) and not self._stop.is_set():
            for number in missing:
                self._set(number, State.START)
            newest = max(missing)
            if not self._load(newest, found[newest]):
                broken.add(newest)
        self._retire(self._serving.keys() - self._choose(found, broken))

    def _choose(self, found: dict[int, Path], broken: set[int]) -> frozenset[int]:
        return self.config.policy.choose(found.keys() - broken)

    def _still_broken(self, number: int, directory: Path) -> bool:
        broken = self._broken.get(number)
        if broken is None or broken.files != fingerprint(directory):
            return False
        waited = time.monotonic() - broken.when
        return broken.tries > self._loading.retries or waited < self._loading.retry_seconds

    def _load(self, number: int, directory: Path) -> bool:
        # Taken before the load: what changes meanwhile makes it be tried again.
        seen = fingerprint(directory)
        self._set(number, State.LOADING)
        try:
            batching = self._loading.batching(directory)
            servable = self._loading.load(directory)
        except (BertBundleError, RequestError) as error:
            _logger.error("model %s version %d did not load: %s", self.config.name, number, error)
            self._break(number, seen, error)
            return False
        except Exception as error:  # whatever breaks one version must not break the server
            # One line: mostly a truncated or half-copied file, which the runtime reports in its own exceptions.
            _logger.error("model %s version %d did not load: %s", self.config.name, number, _reason(error)[1])
            _logger.debug("where it broke", exc_info=error)
            self._break(number, seen, error)
            return False
        self._broken.pop(number, None)
        free_memory()  # what only the load needed: as much as the weights again
        name, ended = self.config.name, lambda: self._end(number)
        self._publish(Version(name, number, servable, ended=ended, batching=batching))
        return True

    def _break(self, number: int, seen: Fingerprint, error: Exception) -> None:
        before = self._broken.get(number)
        tries = before.tries + 1 if before is not None and before.files == seen else 1
        self._broken[number] = _Broken(seen, tries, time.monotonic())
        self._set(number, State.END, *_reason(error))

    def _publish(self, version: Version) -> None:
        with self._lock:
            closed = self._stop.is_set()
            if not closed:
                self._serving[version.number] = version
                self._statuses[version.number] = VersionStatus(version.number, State.AVAILABLE)
        if closed:  # while it was loaded
            version.release()
            return
        _logger.info(
            "model %s version %d available: %s", self.config.name, version.number, version.servable.description
        )

    def _retire(self, numbers: set[int]) -> None:
        for number in sorted(numbers):
            with self._lock:
                version = self._serving.pop(number)
                self._statuses[number] = VersionStatus(number, State.UNLOADING)
            _logger.info("model %s version %d unloading", self.config.name, number)
            version.release()

    def _set(self, number: int, state: State, code: str = "OK", message: str = "") -> None:
        with self._lock:
            self._statuses[number] = VersionStatus(number, state, code, message)

    def _end(self, number: int) -> None:
        with self._lock:
            # It may have been loaded again while its last caller still used the old load.
            if self._statuses[number].state == State.UNLOADING:
                self._statuses[number] = VersionStatus(number, State.END)
        _logger.info("model %s version %d ended", self.config.name, number)

    def _tell_wanted(self, found: dict[int, Path]) -> None:
        wanted = self.config.policy.wanted(found)
        if wanted and wanted != self._told_wanted:
            _logger.warning("model %s waits for %s in %s", self.config.name, wanted, self.config.base_path)
        self._told_wanted = wanted


def _reason(error: Exception) -> tuple[str, str]:
    if isinstance(error, RequestError):
        return error.code, error.message
    if isinstance(error, BertBundleError):
        return "FAILED_PRECONDITION", str(error)
    return "UNKNOWN", f"{type(error).__name__}: {error}"
