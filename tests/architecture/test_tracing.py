"""The tracer, on which the trace tests in this folder rely, counts files and moves as documented."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tracing import Tracer

MODULES = {
    "__init__.py": "",
    "outer.py": "from traced_package import inner\n\n"
    "def ask():\n    return list(map(inner.double, [1, 2]))\n\n"
    "async def wait(future):\n    return inner.double(await future)\n",
    "inner.py": "def double(x):\n    return _twice(x)\n\ndef _twice(x):\n    return 2 * x\n",
    "message_pb2.py": "def parse():\n    return 1\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A package of two files that call each other, and a generated one."""
    folder = tmp_path / "traced_package"
    folder.mkdir()
    for name, text in MODULES.items():
        (folder / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("traced_package")
    for name in [name for name in sys.modules if name.partition(".")[0] == "traced_package"]:
        del sys.modules[name]


def test_calls_to_another_file_are_moves(package: ModuleType) -> None:
    """A call to a function in a different file than the previous call is a move; returns are not counted."""
    outer = importlib.import_module("traced_package.outer")
    with Tracer(package) as tracer, tracer.recording() as trace:
        outer.ask()
        outer.ask()
    assert trace.files == ["traced_package/inner.py", "traced_package/outer.py"]
    assert trace.functions == [
        "traced_package/inner.py _twice",
        "traced_package/inner.py double",
        "traced_package/outer.py ask",
    ]
    assert trace.moves == 3
    assert "2 files, 3 functions, 3 moves" in str(trace)


def test_resuming_a_coroutine_is_a_call(package: ModuleType) -> None:
    """Starting a coroutine and each resumption of it are calls of its function."""
    outer = importlib.import_module("traced_package.outer")

    class Future:
        def __await__(self) -> Generator[None, None, int]:
            yield
            return 3

    with Tracer(package) as tracer, tracer.recording() as trace:
        coroutine = outer.wait(Future())
        coroutine.send(None)
        with pytest.raises(StopIteration, match="6"):
            coroutine.send(None)
    assert [step.function for step in trace.steps] == ["wait", "wait", "double", "_twice"]
    assert trace.moves == 1


def test_threads_are_counted_separately(package: ModuleType) -> None:
    """A thread that starts inside the context is profiled; calls in another thread are not moves of this one."""
    outer = importlib.import_module("traced_package.outer")
    inner = importlib.import_module("traced_package.inner")
    with Tracer(package) as tracer, tracer.recording() as trace:
        thread = threading.Thread(target=inner.double, args=(1,))
        thread.start()
        thread.join()
        outer.ask()
    assert trace.moves == 1
    assert len({step.thread for step in trace.steps}) == 2


def test_only_the_recording_and_the_package_count(package: ModuleType) -> None:
    """Calls outside a recording, in generated protobuf modules and in other packages are not recorded."""
    outer = importlib.import_module("traced_package.outer")
    message = importlib.import_module("traced_package.message_pb2")
    with Tracer(package) as tracer:
        outer.ask()
        with tracer.recording() as trace:
            message.parse()
            "a b".title()
        outer.ask()
    assert not trace.steps
