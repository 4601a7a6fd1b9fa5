"""Servers that count their calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from fakes import FakeServer, predict_method

Replica = Callable[..., FakeServer]


@pytest.fixture
def calls() -> Counter[str]:
    """The number of calls to each replica, by name."""
    return Counter()


@pytest.fixture
def replica(start_server: Callable[..., FakeServer], calls: Counter[str]) -> Replica:
    """Return a function that starts a named server of the small model; with a status code, its calls fail with it."""
    answer = predict_method()

    def start(name: str, code: grpc.StatusCode | None = None, **options: Any) -> FakeServer:
        def predict(data: bytes, context: grpc.ServicerContext) -> bytes:
            calls[name] += 1
            if code is not None:
                context.abort(code, "injected error")
            return answer(data, context)

        return start_server(predict, **options)

    return start
