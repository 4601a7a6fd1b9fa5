"""A slow and a fast server, for hedged requests, and a tokenizer file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fakes import FakeServer, make_tokenizer, predict_method
from slow_server import SlowServer


@pytest.fixture
def first_address_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the address that is listed first have the first turn."""
    monkeypatch.setattr("random.sample", lambda endpoints, _: endpoints[::-1])


@pytest.fixture
def slow(start_server: Callable[..., FakeServer]) -> Iterator[SlowServer]:
    """A slow server."""
    server = SlowServer(start_server)
    yield server
    server.release()


@pytest.fixture
def fast(start_server: Callable[..., FakeServer]) -> str:
    """The address of a fast server."""
    return start_server(predict_method()).address


@pytest.fixture
def tokenizer_file(tmp_path: Path) -> Path:
    """The tokenizer.json of the small model."""
    path = tmp_path / "tokenizer.json"
    path.write_text(make_tokenizer().to_str(), encoding="utf-8")
    return path
