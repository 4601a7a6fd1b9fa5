"""The latency of two models, measured in turn so that both have the same conditions."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Latency", "measure_latencies"]

_WARMUP = 3


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds of one request with one text, seen by the client.

    Attributes:
        requests: number of requests.
        mean, p50, p95: the mean, and two percentiles.
    """

    requests: int
    mean: float
    p50: float
    p95: float


def measure_latencies(asks: Sequence[Callable[[Any], Any]], texts: Sequence[Any]) -> list[Latency]:
    """Ask each model for each text, one request at a time, the models in turn and in alternating order."""
    for text in texts[:_WARMUP]:
        for ask in asks:
            ask(text)
    times: list[list[float]] = [[] for _ in asks]
    for index, text in enumerate(texts):
        order = range(len(asks)) if index % 2 else reversed(range(len(asks)))
        for model in order:
            start = time.perf_counter()
            asks[model](text)
            times[model].append(1000 * (time.perf_counter() - start))
    return [Latency(len(each), float(np.mean(each)), *map(float, np.quantile(each, [0.5, 0.95]))) for each in times]
