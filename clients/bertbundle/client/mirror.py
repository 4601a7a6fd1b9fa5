"""Copy calls to another version in a background thread, compare the results, and count."""

from __future__ import annotations

import contextlib
import queue
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bertbundle.client.thread_runner import ThreadRunner
from bertbundle.decoding.agreement import agree
from bertbundle.session.session import Session
from bertbundle.session.version_agreement import answer_one

__all__ = ["Mirror", "MirrorCounts"]

_CLOSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class MirrorCounts:
    """What a shadow did so far.

    Attributes:
        agreed: number of texts for which its result agrees with the client's.
        disagreed: number of texts for which it does not.
        failed: number of calls that it did not answer.
        dropped: number of calls that were not copied, because too many were waiting, the client was closed, or no
            thread could be started.
        pending: number of calls that wait or are being answered.
        last_error: why the last failed call failed; "" if none did.
    """

    agreed: int = 0
    disagreed: int = 0
    failed: int = 0
    dropped: int = 0
    pending: int = 0
    last_error: str = ""


class Mirror:
    """Answers copies of calls one after the other, in a thread that starts with the first one."""

    def __init__(self, session: Session, runner: ThreadRunner, *, share: float, max_pending: int) -> None:
        """Create a mirror; no thread is started yet.

        Args:
            session: the version to ask.
            runner: makes its calls.
            share: share of the calls to copy.
            max_pending: number of calls that may wait.
        """
        self._session, self._runner, self._share = session, runner, share
        self._waiting: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._max_pending = max_pending
        self._lock = threading.Lock()
        self._counts = MirrorCounts()
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, answer: Any, decoder: Any, texts: Any, options: Any, result: Any) -> None:
        """Copy a call that was answered with `result`, without waiting; drop it if too many are waiting."""
        if random.random() >= self._share:  # noqa: S311 - no cryptography
            return
        # The caller may change texts and result as soon as it has the answer.
        copies = _copy(texts), _copy(result)

        def run() -> None:
            other = self._runner.run(answer(self._session, decoder, copies[0], options))
            single = answer is answer_one
            pairs = [(copies[1], other)] if single else list(zip(copies[1], other, strict=True))
            agreed = sum(agree(*pair) for pair in pairs)
            self._count(agreed=agreed, disagreed=len(pairs) - agreed)

        with self._lock:
            if self._closed or self._counts.pending >= self._max_pending:
                self._add(dropped=1)
                return
            if self._thread is None and not self._start():
                self._add(dropped=1)
                return
            self._add(pending=1)
            self._waiting.put(run)

    def _start(self) -> bool:
        """Start the thread; return whether there is one: none can be started when the interpreter exits."""
        thread = threading.Thread(target=self._work, name="bertbundle-shadow", daemon=True)
        with contextlib.suppress(RuntimeError):
            thread.start()
            self._thread = thread
        return self._thread is not None

    def counts(self) -> MirrorCounts:
        """Return the counts so far."""
        return self._counts

    def close(self) -> None:
        """Drop the calls that wait, cancel the one that is being answered, and end the thread."""
        with self._lock:
            self._closed = True
            with contextlib.suppress(queue.Empty):
                while True:
                    self._waiting.get_nowait()
                    self._add(dropped=1, pending=-1)
            self._waiting.put(None)
        self._runner.close()
        if self._thread is not None:
            self._thread.join(_CLOSE_SECONDS)

    def _work(self) -> None:
        while (run := self._waiting.get()) is not None:
            try:
                run()
            except Exception as error:  # noqa: BLE001 - whatever fails here must not reach the caller
                self._fail(error)
            self._count(pending=-1)

    def _fail(self, error: Exception) -> None:
        with self._lock:
            if self._closed:
                self._add(dropped=1)
            else:
                self._add(failed=1)
                self._counts = replace(self._counts, last_error=f"{type(error).__name__}: {error}")

    def _count(self, **changes: int) -> None:
        with self._lock:
            self._add(**changes)

    def _add(self, **changes: int) -> None:
        """Change counts; the caller holds the lock."""
        values = {name: getattr(self._counts, name) + change for name, change in changes.items()}
        self._counts = replace(self._counts, **values)


def _copy(value: Any) -> Any:
    """Copy the containers of texts or of a result; their elements are immutable."""
    if isinstance(value, list):
        return [_copy(item) for item in value]
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return value.copy() if isinstance(value, np.ndarray) else value
