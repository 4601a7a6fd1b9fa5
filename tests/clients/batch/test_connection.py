"""How a bundle in the process uses the cores."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from batch_files import make_bundle
from bertbundle import Client
from bertbundle.batch import Annotator
from bertbundle.batch import connection as module

TEXTS = [f"wang {index}" for index in range(100)]


@pytest.mark.parametrize(
    ("threads", "calls", "each"), [(1, 1, 1), (2, 2, 1), (8, 8, 1), (9, 4, 2), (16, 8, 2), (17, 5, 3), (64, 8, 8)]
)
def test_cores_are_divided_among_calls(threads: int, calls: int, each: int) -> None:
    """A call for each core, at most 8; no more threads than asked for."""
    assert module._divided(threads) == (calls, each)


@pytest.mark.parametrize(("threads", "expected"), [(3, (3, 1)), (16, (8, 2)), (None, (2, 1))])
def test_local_client(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, threads: int | None, expected: Any) -> None:
    """The session computes with the threads of one call, the client makes the calls at once."""
    found: dict[str, Any] = {}
    local = Client.local

    def record(path: str, **settings: Any) -> Any:
        found.update(settings)
        return local(path, **settings)

    monkeypatch.setattr(Client, "local", record)
    monkeypatch.setattr(module, "available_cores", lambda: 2)
    bundle = make_bundle(tmp_path)
    annotator = Annotator(bundle=bundle, threads=threads)
    with contextlib.closing(annotator.connection):
        answers = annotator.answer(TEXTS)
    assert (found["concurrency"], found["threads"]) == expected
    assert answers == local(bundle, threads=1).entities(TEXTS)
