"""Throughput and latency over gRPC: bundles with several lengths, and TFBert with every row padded to 128.

    python benchmarks/served.py --size base

All servers run during the whole benchmark and take turns. Measures sequences per second and latencies for sentences of
natural length with 1 to 32 callers, for a short text, and for growing batches and lengths; and the throughput of a
server with 16 callers relative to the same engine in this process. If TENSORFLOW_MODEL_SERVER names a
tensorflow_model_server binary, the SavedModels are also measured with that server and its default flags.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bertbundle_serving.config.batching_parameters import BatchingParameters
from bertbundle_serving.engine.queue import max_batch_rows
from bertbundle_serving.runtimes import RuntimeOptions, loader
from harness import Row, finish, interleave, machine, parser, rows_of, seconds
from local_server import serving
from model_server import BINARY, model_server
from models import (
    MAX_LENGTH,
    PEER,
    SERVED,
    Models,
    features,
    open_models,
    output,
    requester,
    sentence_lengths,
    signatures,
)

SHORT = 20
CALLERS = 16
COMPARED_WITH_ENGINE = ("bfloat16",)
"""The bundles whose servers are compared with the engine alone."""
SERVED_BY_DEFAULT, ONE_THREAD = "served", "served, 1 thread a batch"

Request = Callable[[int, int], object]


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


def compare_with_engine(name: str, requests: dict[str, Request], version: Path, runtime: str, rounds: int) -> list[Row]:
    """Compare servers with many callers with the engine alone, which computes the same rows in full batches."""
    servable = loader(runtime, RuntimeOptions())(version)
    lengths, draw = list(signatures(version)), random.Random(0)  # noqa: S311 - the same order for all variants
    work = [(draw.choice((1, 1, 1, 2, 4, 8)), draw.choice(lengths)) for _ in range(12 * CALLERS)]
    for length in lengths:  # an engine does extra work for each new combination
        for rows in range(1, max_batch_rows(BatchingParameters(), row_size=length) + 1):
            for request in requests.values():
                request(rows, length)
    completed: dict[str, list[tuple[int, int]]] = {}

    def served(variant: str) -> float:
        completed[variant], duration = send_steadily(requests[variant], work)
        return sum(rows for rows, _ in completed[variant]) / duration

    def in_process() -> float:
        same = completed[SERVED_BY_DEFAULT]
        return sum(rows for rows, _ in same) / seconds(partial(compute, servable, version, same))

    variants: dict[str, Callable[[], float]] = {each: partial(served, each) for each in requests}
    _, speeds = interleave({**variants, "in process": in_process}, rounds)
    servable.close()
    return rows_of(f"{CALLERS} callers, {name}", "seq/s", speeds, "in process")


def send_steadily(request: Request, work: Sequence[tuple[int, int]]) -> tuple[list[tuple[int, int]], float]:
    """Share requests among callers; return those that completed while all callers were busy, and the seconds taken."""
    waiting, completed = iter(work), list[tuple[float, tuple[int, int]]]()

    def call() -> None:
        for size in waiting:
            request(*size)
            completed.append((time.perf_counter(), size))

    with ThreadPoolExecutor(CALLERS) as pool:
        for caller in [pool.submit(call) for _ in range(CALLERS)]:
            caller.result()
    window = completed[CALLERS - 1 : 1 - CALLERS]
    return [size for _, size in window[1:]], window[-1][0] - window[0][0]


def compute(servable: Any, version: Path, work: Sequence[tuple[int, int]]) -> None:
    """Compute the rows of each length, in batches of the server's size."""
    for length, signature in signatures(version).items():
        left = sum(rows for rows, tokens in work if tokens == length)
        while left > 0:
            rows = min(left, max_batch_rows(BatchingParameters(), row_size=length))
            servable.run(signature, features(rows, length), [output(version)])
            left -= rows


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
            for name, model, runtime in SERVED:
                if model in COMPARED_WITH_ENGINE:
                    version = models.get(model)
                    flags = {"model_name": model, "model_base_path": version.parent, "runtime": runtime}
                    with serving(tensorflow_intra_op_parallelism=1, **flags) as address:
                        both = {SERVED_BY_DEFAULT: requests[name], ONE_THREAD: requester(address, model, version)}
                        rows += compare_with_engine(name, both, version, runtime, options.rounds)
        if os.environ.get(BINARY):
            saved = [variant for variant in SERVED if variant[2] == "saved_model"]
            with started(models, saved, real=True) as requests:
                rows += measure(requests, options.rounds, options.sentences, ", tensorflow_model_server")
    finish("served", options, facts, rows)


if __name__ == "__main__":
    main()
