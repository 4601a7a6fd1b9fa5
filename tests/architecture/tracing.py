"""Count the files, the functions and the moves between files that one request takes.

Example::

    with Tracer(bertbundle) as tracer:
        client = Client(address, model)
        client.entities(text)  # warm up: caches, lazy imports, threads
        with tracer.recording() as trace:
            client.entities(text)
    assert trace.moves <= 25, str(trace)
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

__all__ = ["Step", "Trace", "Tracer"]

_GENERATED = "_pb2.py"


@dataclass(frozen=True, slots=True)
class Step:
    """One call. Resuming a coroutine or a generator is also a call, and so is a comprehension before Python 3.12.

    Attributes:
        thread: name of the calling thread.
        file: path of the function's file, relative to the parent of the package's folder.
        function: name of the function.
    """

    thread: str
    file: str
    function: str


@dataclass(slots=True)
class Trace:
    """The calls of one recording, in the order in which they happened.

    A move is a call of a function whose file differs from that of the previous call in the same thread. Returns are not
    recorded: a return to the caller's file counts only if the caller then calls a function in its own file.
    """

    steps: list[Step] = field(default_factory=list)

    @property
    def files(self) -> list[str]:
        """The files that were visited, sorted."""
        return sorted({step.file for step in self.steps})

    @property
    def functions(self) -> list[str]:
        """The distinct functions that were called, as ``file function``, sorted."""
        return sorted({f"{step.file} {step.function}" for step in self.steps})

    @property
    def moves(self) -> int:
        """The number of moves between files: counted in each thread, then summed."""
        return sum(
            before.file != after.file for steps in self._by_thread().values() for before, after in pairwise(steps)
        )

    def __str__(self) -> str:
        """Return the trace as text: by thread, one line per call, with numbered moves."""
        lines = [f"{len(self.files)} files, {len(self.functions)} functions, {self.moves} moves", *self.files]
        for thread, steps in self._by_thread().items():
            lines.append(f"thread {thread}:")
            file, moves = steps[0].file, 0
            for step in steps:
                moves += step.file != file
                lines.append(f"  {moves if step.file != file else '':3} {step.file} {step.function}")
                file = step.file
        return "\n".join(lines)

    def _by_thread(self) -> dict[str, list[Step]]:
        threads: dict[str, list[Step]] = {}
        for step in self.steps:
            threads.setdefault(step.thread, []).append(step)
        return threads


class Tracer:
    """Records the calls of functions in the given packages, except those in generated protobuf modules.

    As a context manager it profiles the current thread and every thread that is started inside the context, so create
    objects that start threads (a client, a server) inside it. Calls are recorded only inside `recording`.
    """

    def __init__(self, *packages: ModuleType) -> None:
        self._folders = [Path(path).resolve() for package in packages for path in package.__path__]
        self._files: dict[CodeType, str | None] = {}
        self._trace: Trace | None = None

    def __enter__(self) -> Tracer:
        """Start profiling."""
        threading.setprofile(self._on_event)
        sys.setprofile(self._on_event)
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop profiling this thread and threads that start from now on."""
        sys.setprofile(None)
        threading.setprofile(None)

    @contextlib.contextmanager
    def recording(self) -> Iterator[Trace]:
        """Record the calls in every profiled thread until the context ends; yields the growing trace."""
        trace = self._trace = Trace()
        try:
            yield trace
        finally:
            self._trace = None

    def _on_event(self, frame: FrameType, event: str, argument: Any) -> None:
        del argument
        trace = self._trace
        if trace is not None and event == "call":
            code = frame.f_code
            if code not in self._files:
                self._files[code] = self._find(Path(code.co_filename))
            file = self._files[code]
            if file is not None:
                trace.steps.append(Step(threading.current_thread().name, file, _name(code)))

    def _find(self, path: Path) -> str | None:
        """Return the file of a function relative to its package's parent; None if it is not traced."""
        if path.name.endswith(_GENERATED) or not path.is_absolute():  # <string>: generated by dataclasses
            return None
        path = path.resolve()
        folder = next((folder for folder in self._folders if path.is_relative_to(folder)), None)
        return None if folder is None else path.relative_to(folder.parent).as_posix()


def _name(code: CodeType) -> str:
    return str(getattr(code, "co_qualname", code.co_name))  # co_qualname: Python 3.11
