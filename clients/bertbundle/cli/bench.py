"""`bertbundle bench`: a load test of a server that reports the latencies as text or as a plot."""

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

__all__ = ["LoadTestResult", "make_plotter", "run_load_test"]

_BAR_WIDTH = 50  # characters
_BINS = 12


@dataclass(frozen=True, slots=True)
class LoadTestResult:
    """The measurements of a load test.

    Attributes:
        seconds: duration of the test.
        latencies: seconds of each successful call, sorted.
        texts: number of texts answered.
        errors: number of failed calls by error code.
    """

    seconds: float
    latencies: tuple[float, ...]
    texts: int
    errors: dict[str, int]

    def percentile(self, fraction: float) -> float:
        """Return the latency in seconds that a fraction of the calls did not exceed ("nearest rank")."""
        return self.latencies[max(math.ceil(fraction * len(self.latencies)) - 1, 0)] if self.latencies else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as a JSON-serializable dict; latencies are in milliseconds, or None without calls."""
        fractions = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
        milliseconds = {name: round(self.percentile(fraction) * 1e3, 3) for name, fraction in fractions.items()}
        return {
            "seconds": round(self.seconds, 3),
            "calls": len(self.latencies),
            "texts_per_second": round(self.texts / self.seconds, 2),
            "latency_ms": milliseconds if self.latencies else None,
            "errors": self.errors,
        }

    def to_lines(self) -> list[str]:
        """Return the figures and a histogram of the latencies, with logarithmic bins, as lines of text."""
        figures = self.to_dict()
        summary = f"{figures['calls']} calls, {figures['texts_per_second']} texts/s, errors: {self.errors or 'none'}"
        if not self.latencies:
            return [summary]
        latency = "  ".join(f"{name} {value:.2f} ms" for name, value in figures["latency_ms"].items())
        edges = self._bin_edges()
        counts = [sum(low < value <= high for value in self.latencies) for low, high in itertools.pairwise(edges)]
        bars = [
            f"{high * 1e3:10.2f} ms  {'█' * round(_BAR_WIDTH * count / max(counts))} {count}"
            for high, count in zip(edges[1:], counts, strict=True)
        ]
        return [summary, latency, *bars]

    def _bin_edges(self) -> list[float]:
        low, high = self.latencies[0] * 0.999, self.latencies[-1] * 1.001
        return [low * (high / low) ** (index / _BINS) for index in range(_BINS + 1)]


def run_load_test(
    ask: Callable[[list[Any]], Any], batches: Sequence[list[Any]], seconds: float, concurrency: int
) -> LoadTestResult:
    """Call `ask` with the batches in turn from `concurrency` threads; a first call, to warm up, is not counted."""
    end = time.monotonic() + seconds
    remaining = itertools.cycle(batches)
    ask(batches[0])

    def work(_: int) -> tuple[list[float], int, list[str]]:
        latencies: list[float] = []
        errors: list[str] = []
        texts = 0
        while time.monotonic() < end:
            batch = next(remaining)
            start = time.perf_counter()
            error = _error_code(ask, batch)
            if error:
                errors.append(error)
                continue
            latencies.append(time.perf_counter() - start)
            texts += len(batch)
        return latencies, texts, errors

    start = time.perf_counter()
    with ThreadPoolExecutor(concurrency) as pool:
        results = list(pool.map(work, range(concurrency)))
    codes = [code for _, _, errors in results for code in errors]
    return LoadTestResult(
        time.perf_counter() - start,
        tuple(sorted(itertools.chain.from_iterable(latencies for latencies, _, _ in results))),
        sum(texts for _, texts, _ in results),
        {code: codes.count(code) for code in sorted(set(codes))},
    )


def _error_code(ask: Callable[[list[Any]], Any], batch: list[Any]) -> str | None:
    try:
        ask(batch)
    except ServerError as error:
        return error.code
    return None


def make_plotter(path: str) -> Callable[[LoadTestResult], None]:
    """Return a function that saves a plot of the latency distribution to `path`.

    Called before the load test, so that a plot that cannot be saved is reported first.

    Raises:
        InputError: matplotlib is not installed, or does not support the file format.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("--png needs matplotlib: pip install 'bertbundle[bench]'.") from error
    figure = Figure(figsize=(7, 4), layout="constrained")
    supported, suffix = figure.canvas.get_supported_filetypes(), Path(path).suffix.removeprefix(".").lower()
    if suffix not in supported:
        raise InputError(f"--png {path} does not have one of the suffixes {', '.join(sorted(supported))}.")

    def plot(result: LoadTestResult) -> None:
        axes = figure.subplots()
        fractions = [(index + 1) / len(result.latencies) for index in range(len(result.latencies))]
        axes.plot([latency * 1e3 for latency in result.latencies], fractions, drawstyle="steps-post")
        scale = "log" if result.latencies else "linear"
        axes.set(xscale=scale, xlabel="latency, ms", ylabel="share of calls", title=result.to_lines()[0])
        axes.grid(visible=True, which="both", alpha=0.3)
        figure.savefig(path, dpi=150)

    return plot
