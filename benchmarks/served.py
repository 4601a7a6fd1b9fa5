"""Throughput and latency over gRPC: bundles with several lengths, and TFBert with every row padded to 128.

    python benchmarks/served.py --size base

All servers run during the whole benchmark and take turns. Measures sequences per second and latencies for sentences of
natural length with 1 to 32 callers, for a short text, and for growing batches and lengths. If TENSORFLOW_MODEL_SERVER
names a tensorflow_model_server binary, the SavedModels are also measured with that server and its default flags.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from harness import Row, finish, interleave, machine, parser, rows_of
from local_server import serving
from model_server import BINARY, model_server
from models import (
    MAX_LENGTH,
    PEER,
    SERVED,
    Models,
    Request,
    open_models,
    requester,
    sentence_lengths,
)

SHORT = 20


@dataclass(frozen=True, slots=True)
class Case:
    """Requests of a number of callers.

    Attributes:
        name: name of the case.
        at: the value of the quantity that the case varies.
        callers: number of concurrent requests.
        work: rows and tokens of each request.
    """

    name: str
    at: float | None
    callers: int
    work: Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures that the callers measured: sequences per second, and latencies in ms."""

    speed: float
    p50: float
    p99: float


METRICS = {"seq/s": "speed", "ms p50": "p50", "ms p99": "p99"}


def cases(sentences: int) -> list[Case]:
    """Return the cases to measure."""
    lengths, dataset = sentence_lengths()
    natural = [(1, tokens) for tokens in lengths[:sentences]]
    return [
        *(Case(f"callers, {dataset}", callers, callers, natural) for callers in (1, 2, 4, 8, 16, 32)),
        Case(f"{SHORT} tokens, 1 caller", None, 1, [(1, SHORT)] * 64),
        *(Case("rows of 32 tokens, 1 caller", rows, 1, [(rows, 32)] * 2) for rows in (1, 4, 16, 32)),
        *(Case("tokens, 8 rows, 1 caller", tokens, 1, [(8, tokens)] * 2) for tokens in (16, 32, 80, MAX_LENGTH)),
    ]


def send_all(request: Request, case: Case) -> Measured:
    """Send all requests of a case."""

    def latency(size: tuple[int, int]) -> float:
        begin = time.perf_counter()
        request(*size)
        return (time.perf_counter() - begin) * 1e3

    begin = time.perf_counter()
    with ThreadPoolExecutor(case.callers) as pool:
        latencies = list(pool.map(latency, case.work))
    p50, p99 = np.percentile(latencies, [50, 99])
    return Measured(sum(rows for rows, _ in case.work) / (time.perf_counter() - begin), float(p50), float(p99))


def measure(requests: dict[str, Request], rounds: int, sentences: int, suffix: str = "") -> list[Row]:
    """Measure every case; `suffix` is appended to the names of the cases."""
    found = []
    for case in cases(sentences):
        variants = {name: partial(send_all, request, case) for name, request in requests.items()}
        _, results = interleave(variants, rounds)
        for unit, metric in METRICS.items():
            values = {name: [getattr(each, metric) for each in every] for name, every in results.items()}
            found += rows_of(case.name + suffix, unit, values, PEER, less="ms" in unit, at=case.at)
    return found


@contextlib.contextmanager
def started(models: Models, variants: Sequence[tuple[str, str, str]], *, real: bool) -> Iterator[dict[str, Request]]:
    """Serve each variant with a separate server; yield a function per server that sends a request."""
    with contextlib.ExitStack() as stack:
        requests = {}
        for name, model, runtime in variants:
            version = models.get(model)
            flags: dict[str, Any] = {"model_name": model, "model_base_path": version.parent}
            server = model_server(**flags) if real else serving(runtime=runtime, enable_batching="true", **flags)
            requests[name] = requester(stack.enter_context(server), model, version)
        yield requests


def main() -> None:
    """Run the benchmark."""
    arguments = parser(__doc__)
    arguments.add_argument("--sentences", type=int, default=48, help="number of sentences (default: %(default)s)")
    options = arguments.parse_args()
    facts = machine()
    with open_models(options) as models:
        with started(models, SERVED, real=False) as requests:
            rows = measure(requests, options.rounds, options.sentences)
        if os.environ.get(BINARY):
            saved = [variant for variant in SERVED if variant[2] == "saved_model"]
            with started(models, saved, real=True) as requests:
                rows += measure(requests, options.rounds, options.sentences, ", tensorflow_model_server")
    finish("served", options, facts, rows)


if __name__ == "__main__":
    main()
