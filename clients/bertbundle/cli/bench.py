"""`bertbundle bench`: ask a server for a while, and show how long it took."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertbundle.errors import InputError, ServerError

__all__ = ["Load", "drawer", "load"]

_BAR = 50  # characters
_BINS = 12


@dataclass(frozen=True, slots=True)
class Load:
    """What a load test saw.

    Attributes:
        seconds: how long it took.
        latencies: seconds of each call that was answered, sorted.
        texts: number of texts answered.
        errors: number of calls with each error, by its code.
    """

    seconds: float
    latencies: tuple[float, ...]
    texts: int
    errors: dict[str, int]

    def percentile(self, share: float) -> float:
        """Return the latency that a share of the calls did not exceed ("nearest rank"), in seconds."""
        return self.latencies[max(math.ceil(share * len(self.latencies)) - 1, 0)] if self.latencies else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as a dict that ``json.dumps`` takes; latencies in milliseconds, None without a call."""
        shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
        milliseconds = {name: round(self.percentile(share) * 1e3, 3) for name, share in shares.items()}
        return {
            "seconds": round(self.seconds, 3),
            "calls": len(self.latencies),
            "texts_per_second": round(self.texts / self.seconds, 2),
            "latency_ms": milliseconds if self.latencies else None,
            "errors": self.errors,
        }

    def lines(self) -> list[str]:
        """Return figures and a plot of the latencies for a terminal; bins grow by a constant factor."""
        figures = self.to_dict()
        head = f"{figures['calls']} calls, {figures['texts_per_second']} texts/s, errors: {self.errors or 'none'}"
        if not self.latencies:
            return [head]
        latency = "  ".join(f"{name} {value:.2f} ms" for name, value in figures["latency_ms"].items())
        edges = self._edges()
        counts = [sum(low < each <= high for each in self.latencies) for low, high in itertools.pairwise(edges)]
        bars = [
            f"{high * 1e3:10.2f} ms  {'█' * round(_BAR * count / max(counts))} {count}"
            for high, count in zip(edges[1:], counts, strict=True)
        ]
        return [head, latency, *bars]

    def _edges(self) -> list[float]:
        low, high = self.latencies[0] * 0.999, self.latencies[-1] * 1.001
        return [low * (high / low) ** (index / _BINS) for index in range(_BINS + 1)]


def load(ask: Callable[[list[Any]], Any], batches: Sequence[list[Any]], seconds: float, concurrency: int) -> Load:
    """Ask for a while, `concurrency` calls at a time, after one call each that does not count."""
    end = time.monotonic() + seconds
    turns = itertools.cycle(batches)
    ask(batches[0])

    def work(_: int) -> tuple[list[float], int, list[str]]:
        latencies: list[float] = []
        errors: list[str] = []
        texts = 0
        while time.monotonic() < end:
            batch = next(turns)
            begun = time.perf_counter()
            problem = _problem(ask, batch)
            if problem:
                errors.append(problem)
                continue
            latencies.append(time.perf_counter() - begun)
            texts += len(batch)
        return latencies, texts, errors

    begun = time.perf_counter()
    with ThreadPoolExecutor(concurrency) as pool:
        parts = list(pool.map(work, range(concurrency)))
    codes = [code for _, _, errors in parts for code in errors]
    return Load(
        time.perf_counter() - begun,
        tuple(sorted(itertools.chain.from_iterable(latencies for latencies, _, _ in parts))),
        sum(texts for _, texts, _ in parts),
        {code: codes.count(code) for code in sorted(set(codes))},
    )


def _problem(ask: Callable[[list[Any]], Any], batch: list[Any]) -> str | None:
    try:
        ask(batch)
    except ServerError as error:
        return error.code
    return None


def drawer(path: str) -> Callable[[Load], None]:
    """Return what draws the distribution of the latencies as a picture; what cannot work is told before the load.

    Raises:
        InputError: matplotlib is not installed, or does not know the picture's format.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("a picture needs matplotlib: pip install 'bertbundle[bench]'.") from error
    figure = Figure(figsize=(7, 4), layout="constrained")
    known, suffix = figure.canvas.get_supported_filetypes(), Path(path).suffix.removeprefix(".").lower()
    if suffix not in known:
        raise InputError(f"--png {path} has no suffix of {', '.join(sorted(known))}.")

    def draw(found: Load) -> None:
        axes = figure.subplots()
        shares = [(index + 1) / len(found.latencies) for index in range(len(found.latencies))]
        axes.plot([each * 1e3 for each in found.latencies], shares, drawstyle="steps-post")
        scale = "log" if found.latencies else "linear"
        axes.set(xscale=scale, xlabel="latency, ms", ylabel="share of calls", title=found.lines()[0])
        axes.grid(visible=True, which="both", alpha=0.3)
        figure.savefig(path, dpi=150)

    return draw
