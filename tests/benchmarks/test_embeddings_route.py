"""The benchmark of OpenAI's route: its requests, and what it does without its peer."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from paths import ROOT
from text_api import text_api


@pytest.fixture
def route(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark as a module."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("embeddings_route")


def test_without_the_peer(route: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the peer's packages the benchmark says how to get them, and its rows are in no target's case."""
    with route.peer(Path(shutil.which("false") or ""), Path()) as embeds:
        assert embeds == {}
    line = capsys.readouterr().out
    assert line.startswith("skipped: sentence-transformers. ")
    assert "make build/peers/.ready" in line
    rows = route.measure({"ours": lambda texts: texts}, ["text"] * 5, 1)
    assert {(row.case, row.variant) for row in rows} == {("lists of 32 texts, callers, without the peer", "ours")}


def test_lists_of_texts(route: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """All texts are embedded, in order, in lists of 32."""
    monkeypatch.setattr(route, "NAME", "embedder")
    with text_api() as api:
        found = route.embed(int(api.url.rpartition(":")[2]), ["wang", "lives in"] * 40)
    assert found == [[4, 3], [5, 4]] * 40
