"""Latencies of two models are measured in turn."""

from __future__ import annotations

import numpy as np
import pytest

from bertbundle.evaluation.comparison.latency import measure_latencies


def test_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each model gets each text once after the warmup, in alternating order; the figures are those of numpy."""
    clock = [0.0]
    monkeypatch.setattr("bertbundle.evaluation.comparison.latency.time.perf_counter", lambda: clock[0])
    asked: list[tuple[str, int]] = []

    def model(name: str, seconds: float) -> object:
        def ask(text: int) -> None:
            asked.append((name, text))
            clock[0] += seconds * (text + 1)

        return ask

    a, b = measure_latencies([model("a", 0.001), model("b", 0.002)], range(4))  # type: ignore[list-item]
    assert asked[:6] == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert asked[6:] == [("b", 0), ("a", 0), ("a", 1), ("b", 1), ("b", 2), ("a", 2), ("a", 3), ("b", 3)]
    assert (a.requests, b.requests) == (4, 4)
    assert [a.mean, a.p50] == pytest.approx([2.5, 2.5])
    assert b.p95 == pytest.approx(np.percentile([2, 4, 6, 8], 95))
