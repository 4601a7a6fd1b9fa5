"""Throughput of a server whose callers share its cores, relative to the same engine alone in this process.

    python benchmarks/shared_cores.py --size base

16 callers send sentences of natural length, without and with a busy neighbour: a process that multiplies matrices on
one core. The engine computes the same rows in full batches, with the same neighbour. Also measures the processor time
per sequence of server, callers and engine: where the throughput is lower at the same processor time, threads waited.
The embedded server's metrics say how many rows its batches have; the engine is also measured in batches of that size.
If TENSORFLOW_MODEL_SERVER names a tensorflow_model_server binary, the SavedModels are also measured with that server,
with its default flags and with one thread per request.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bertbundle._shared.cores import available_cores
from bertbundle_serving.config.batching_parameters import BatchingParameters
from bertbundle_serving.engine.queue import max_batch_rows
from bertbundle_serving.runtimes import RuntimeOptions, loader
from figures import IN_BATCHES
from harness import HERE, Row, finish, free_port, interleave, machine, parser, rows_of
from local_server import server_process
from model_server import BINARY, model_server
from models import Models, Request, features, open_models, output, requester, sentence_lengths, signatures

CALLERS = 16
SHARED = (
    ("auto", "bfloat16", "auto"),
    ("auto int8", "int8", "auto"),
    ("onnx int8", "int8", "onnx"),
    ("saved_model bfloat16", "bfloat16", "saved_model"),
    ("saved_model int8", "int8", "saved_model"),
)
"""Servers: name, model, ``--runtime``."""
NEIGHBOURS = {"": 0, ", busy neighbour": 1}
SERVED, ENGINE = "served", "in process"
METRICS = "prometheus_config { enable: true }"
METRICS_PATH = "/monitoring/prometheus/metrics"
ONE_THREAD = {
    "tensorflow_intra_op_parallelism": 1,
    "tensorflow_inter_op_parallelism": os.cpu_count() or 1,
}
"""Flags of tensorflow_model_server that let each request use one core."""
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures of one run.

    Attributes:
        speed: sequences per second.
        cost: milliseconds of processor time per sequence, by the process that spent it.
    """

    speed: float
    cost: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Server:
    """A running server.

    Attributes:
        process: its process id; None if the processor time of its processes is not known.
        request: sends a request to it.
        rest_port: its REST port, which has metrics; None if they do not say how large batches are.
    """

    process: int | None
    request: Request
    rest_port: int | None = None

    def batches(self) -> tuple[float, float]:
        """Return how many rows it has computed, in how many batches."""
        url = f"http://127.0.0.1:{self.rest_port}{METRICS_PATH}"
        with urllib.request.urlopen(url, timeout=30) as response:
            text = response.read().decode()
        rows, count = (
            sum(float(value) for value in re.findall(rf"^bertbundle_batch_rows_{part}{{.*}} (\S+)$", text, re.M))
            for part in ("sum", "count")
        )
        return rows, count


@contextlib.contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Run processes that multiply matrices, each on one core."""
    processes = [subprocess.Popen([sys.executable, str(HERE / "busy_neighbour.py")]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def processor_seconds(process: int) -> float:
    """Return the processor time of a process (utime and stime of /proc/PID/stat)."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def serve(server: Server, work: Sequence[int]) -> Measured:
    """Share requests among callers; count those that completed while all callers were busy."""
    waiting, completed = iter(work), list[float]()

    def call() -> None:
        for tokens in waiting:
            server.request(1, tokens)
            completed.append(time.perf_counter())

    processes = {"callers": os.getpid()} | ({"server": server.process} if server.process else {})
    before = {name: processor_seconds(process) for name, process in processes.items()}
    with ThreadPoolExecutor(CALLERS) as pool:
        for caller in [pool.submit(call) for _ in range(CALLERS)]:
            caller.result()
    spent = {name: processor_seconds(process) - before[name] for name, process in processes.items()}
    window = completed[CALLERS - 1 : 1 - CALLERS]
    speed = (len(window) - 1) / (window[-1] - window[0])
    return Measured(speed, {name: seconds * 1e3 / len(work) for name, seconds in spent.items()})


def compute(servable: Any, version: Path, work: Sequence[int], most: int | None = None) -> Measured:
    """Compute the rows of each length, in full batches or in such of at most so many rows, on all cores."""
    names = signatures(version)
    by_length = Counter(min(length for length in names if length >= tokens) for tokens in work)

    def run(batch: tuple[int, int]) -> None:
        rows, length = batch
        servable.run(names[length], features(rows, length), [output(version)])

    batches = [batch for length, total in by_length.items() for batch in full_batches(total, length, most)]
    spent, begin = time.process_time(), time.perf_counter()
    with ThreadPoolExecutor(max(1, available_cores() // servable.threads)) as pool:
        list(pool.map(run, batches))
    seconds, spent = time.perf_counter() - begin, time.process_time() - spent
    return Measured(len(work) / seconds, {"engine": spent * 1e3 / len(work)})


def full_batches(total: int, length: int, most: int | None) -> list[tuple[int, int]]:
    """Return the rows and the length of the batches of a number of rows."""
    limit = most or max_batch_rows(BatchingParameters(), row_size=length)
    return [(min(limit, total - start), length) for start in range(0, total, limit)]


def warm_up(server: Server, version: Path) -> None:
    """Request every number of rows at every length: an engine does extra work for each new combination."""
    for length in signatures(version):
        for rows in range(1, max_batch_rows(BatchingParameters(), row_size=length) + 1):
            server.request(rows, length)


def measure(name: str, server: Server, version: Path, runtime: str, options: argparse.Namespace) -> list[Row]:
    """Compare a server with the engine alone, without and with a busy neighbour."""
    work = list(islice(cycle(sentence_lengths()[0]), options.sentences))
    servable = loader(runtime, RuntimeOptions())(version)
    warm_up(server, version)
    rows = []
    for suffix, count in NEIGHBOURS.items():
        with neighbours(count):
            before = server.batches() if server.rest_port else None
            variants = {SERVED: partial(serve, server, work), ENGINE: partial(compute, servable, version, work)}
            _, results = interleave(variants, options.rounds)
        speeds = {variant: [each.speed for each in every] for variant, every in results.items()}
        costs = {part: [each.cost[part] for each in every] for every in results.values() for part in every[0].cost}
        case = f"{CALLERS} callers, {name}{suffix}"
        rows += rows_of(case, "seq/s", speeds, ENGINE) + rows_of(case, "ms CPU", costs, "engine", less=True)
        if before and not count:
            computed, batches = (after - start for after, start in zip(server.batches(), before, strict=True))
            rows += in_batches_of(computed / batches, case, partial(compute, servable, version, work), options.rounds)
    servable.close()
    return rows


def in_batches_of(size: float, case: str, run: Callable[[int], Measured], rounds: int) -> list[Row]:
    """Return the mean rows of the server's batches, and the cost of the engine in batches of that size."""
    costs = [run(round(size)).cost["engine"] for _ in range(rounds)]
    of_engine = rows_of(case, "ms CPU", {IN_BATCHES: costs}, IN_BATCHES)
    return [Row(case, "server", "rows/batch", size, size, size, 1), *of_engine]


def embedded(name: str, version: Path, model: str, runtime: str, options: argparse.Namespace) -> list[Row]:
    """Measure the embedded server with its default flags."""
    port = free_port()
    flags = [f"--model_name={model}", f"--model_base_path={version.parent}", f"--runtime={runtime}", "--port=0"]
    with TemporaryDirectory() as scratch:
        config = Path(scratch) / "monitoring.config"
        config.write_text(METRICS, encoding="utf-8")
        flags += [f"--rest_api_port={port}", f"--monitoring_config_file={config}"]
        with server_process([sys.executable, "-m", "bertbundle_serving", *flags]) as (process, address):
            server = Server(process, requester(address, model, version), port)
            return measure(name, server, version, runtime, options)


def tensorflow_serving(name: str, version: Path, model: str, options: argparse.Namespace) -> list[Row]:
    """Measure a real tensorflow_model_server with its default flags and with one thread per request."""
    rows = []
    for suffix, flags in (("", {}), (", 1 thread", ONE_THREAD)):
        with model_server(model_name=model, model_base_path=version.parent, **flags) as address:
            server = Server(None, requester(address, model, version))
            rows += measure(f"{name}, tensorflow_model_server{suffix}", server, version, "saved_model", options)
    return rows


def measure_all(models: Models, options: argparse.Namespace) -> list[Row]:
    """Measure every server."""
    rows = []
    for name, model, runtime in SHARED:
        version = models.get(model)
        rows += embedded(name, version, model, runtime, options)
        if os.environ.get(BINARY) and runtime == "saved_model":
            rows += tensorflow_serving(name, version, model, options)
    return rows


def main() -> None:
    """Run the benchmark."""
    arguments = parser(__doc__)
    arguments.add_argument("--sentences", type=int, default=192, help="number of sentences (default: %(default)s)")
    options = arguments.parse_args()
    facts = machine()
    with open_models(options) as models:
        rows = measure_all(models, options)
    finish("shared_cores", options, facts, rows)


if __name__ == "__main__":
    main()
