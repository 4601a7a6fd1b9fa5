"""Bulk on Ray and on Spark beside `bertbundle bulk` in one process, on the same cores of this machine.

    python benchmarks/bulk_engines.py --rows 100000 --rounds 1
    python benchmarks/bulk_engines.py --rows 0 --memory-rows 10000,100000,1000000

``make setup-cluster`` installs both engines; one that is missing is skipped with a message. First the rows per second
of the demo's model for entities on short texts, from the command to the end of the output: with a Ray cluster that is
running, and without the start of Spark's session. Then, with a model of no cost, the peak memory of the driver and of
the largest worker as the rows grow.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bertbundle._shared.cores import available_cores
from harness import HERE, Row, finish, free_port, machine, parser, rows_of
from peers import export, texts
from real_weights import fetch

from fakes import write_bundle  # isort: skip - of tests/support, whose path harness adds

LOCAL, RAY, SPARK = "local", "ray", "spark"
FILES = 16
SAMPLE_SECONDS = 0.2
START_SECONDS = 300.0
MODEL = "rampart"
WORDS = 5
"""The first words of a sentence are a text."""
WORKERS = {
    RAY: (b"MapBatches(",),
    SPARK: (b"pyspark.daemon", b"pyspark.worker"),
}
"""What the command lines of an engine's workers contain."""

Run = Callable[[Path, Path], subprocess.Popen[bytes]]
"""Starts the driver of an engine, with the directories of its input and output."""


def main() -> None:
    """Run the benchmark."""
    arguments = parser(__doc__)
    arguments.add_argument(
        "--rows", type=int, default=100_000, help="rows of the speed (default: %(default)s; 0: none)"
    )
    arguments.add_argument(
        "--memory-rows",
        type=lambda text: [int(part) for part in text.split(",") if part],
        default=[10_000, 100_000, 1_000_000],
        help="numbers of rows of the memory (default: %(default)s)",
    )
    options = arguments.parse_args()
    facts = machine()
    with TemporaryDirectory() as name:
        scratch = Path(name)
        free = scratch / "models/tiny"
        write_bundle(free)
        real = free if options.size == "tiny" else real_bundle(options.work or scratch)
        with ray_cluster() as address:
            rows = speed(engines(real, address), scratch, options) if options.rows else []
            rows += memory(engines(free, address), scratch, options.memory_rows)
    finish("bulk_engines", options, facts, rows)


def real_bundle(directory: Path) -> Path:
    """Return the bundle of the demo's model, exported on first use."""
    base = directory / MODEL
    if not base.exists():
        export(Path(sys.executable), fetch(MODEL), base, "float32")
    return base


def speed(runs: Mapping[str, Run], scratch: Path, options: argparse.Namespace) -> list[Row]:
    """Return the rows per second of each engine."""
    sentences = [" ".join(sentence.split()[:WORDS]) for sentence in texts()[0]]
    source = write_rows(scratch / "texts", sentences, options.rows)
    speeds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.rounds):
        for name, run in runs.items():
            speeds[name].append(rows_per_second(run, source, scratch / "out", options.rows))
    return rows_of(f"entities of {options.rows} rows", "rows/s", speeds, LOCAL)


def memory(runs: Mapping[str, Run], scratch: Path, counts: Sequence[int]) -> list[Row]:
    """Return the peak memory of driver and worker by the number of rows; the ratio is that to the fewest rows."""
    rows: list[Row] = []
    fewest: dict[tuple[str, str], float] = {}
    for count in counts:
        source = write_rows(scratch / f"texts-{count}", ["wang lives in berlin"], count)
        for name, run in runs.items():
            for role, value in peaks(name, run, source, scratch / "out").items():
                ratio = value / fewest.setdefault((name, role), value)
                rows.append(Row(f"memory, {role}, rows:", name, "MB peak", value, value, value, ratio, at=count))
    return rows


def write_rows(directory: Path, sentences: Sequence[str], count: int) -> Path:
    """Write files of JSON lines with a number of texts, and return their directory."""
    directory.mkdir()
    for number in range(FILES):
        with (directory / f"{number:02}.jsonl").open("w", encoding="utf-8") as file:
            for index in range(number, count, FILES):
                file.write(json.dumps({"id": index, "text": sentences[index % len(sentences)]}) + "\n")
    return directory


# ---- engines


def engines(bundle: Path, ray: str | None) -> dict[str, Run]:
    """Return the engines that are installed, each of which uses all cores; `ray` is the address of Ray's cluster."""
    runs: dict[str, Run] = {LOCAL: partial(start_bulk, bundle, ())}
    if ray is not None:
        runs[RAY] = partial(start_bulk, bundle, ("--engine", "ray", "--address", ray))
    if importlib.util.find_spec("pyspark"):
        runs[SPARK] = partial(start_spark, bundle)
    for missing in {LOCAL, RAY, SPARK} - set(runs):
        print(f"skipped: {missing}. It is not installed: make setup-cluster.")
    return runs


@contextlib.contextmanager
def ray_cluster() -> Iterator[str | None]:
    """Run a cluster of one node, and yield its address; None if Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        yield None
        return
    port = free_port()
    command = [str(Path(sys.executable).parent / "ray"), "start", "--head", f"--port={port}", "--block"]
    options = [f"--num-cpus={available_cores()}", "--include-dashboard=false", "--object-store-memory=100000000"]
    at_once = {**os.environ, "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"}
    process = subprocess.Popen([*command, *options], env=at_once, stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + START_SECONDS
        status = [command[0], "status", f"--address=127.0.0.1:{port}"]
        while subprocess.run(status, capture_output=True).returncode:
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit("the Ray cluster did not start.")
            time.sleep(1)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def start_bulk(bundle: Path, engine: Sequence[str], source: Path, output: Path) -> subprocess.Popen[bytes]:
    """Start `bertbundle bulk`."""
    command = [sys.executable, "-m", "bertbundle", "bulk", "--bundle", str(bundle), *engine, "--json"]
    command += ["--overwrite", "--input", str(source), "--output", str(output)]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


def start_spark(bundle: Path, source: Path, output: Path) -> subprocess.Popen[bytes]:
    """Start a job of Spark."""
    command = [sys.executable, str(HERE / "spark_bulk.py"), str(bundle), str(source), f"{output}-spark"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def rows_per_second(run: Run, source: Path, output: Path, count: int) -> float:
    """Return the speed of an engine from its command, or from what Spark's job says, to the end of the output."""
    begin = time.perf_counter()
    out = finished(run(source, output))
    return count / (float(out) if out else time.perf_counter() - begin)


def finished(process: subprocess.Popen[bytes]) -> str:
    """Wait for a driver, and return what it has printed.

    Raises:
        SystemExit: it has failed.
    """
    out, err = process.communicate()
    if process.returncode:
        raise SystemExit(f"{err.decode()}\nthe job failed.")
    return (out or b"").decode()


# ---- memory


def peaks(name: str, run: Run, source: Path, output: Path) -> dict[str, float]:
    """Return the peak resident memory in MB of the driver, and of the largest worker, of a job."""
    process = run(source, output)
    found = {"driver": 0.0}
    done = threading.Event()
    sampler = threading.Thread(target=_sample, args=(name, process.pid, found, done))
    sampler.start()
    try:
        finished(process)
    finally:
        done.set()
        sampler.join()
    return found


def _sample(name: str, driver: int, found: dict[str, float], done: threading.Event) -> None:
    while not done.wait(SAMPLE_SECONDS):
        found["driver"] = max(found["driver"], peak_of(driver))
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):  # it has just ended
                if any(mark in path.read_bytes() for mark in WORKERS.get(name, ())):
                    found["worker"] = max(found.get("worker", 0.0), peak_of(int(path.parent.name)))


def peak_of(process: int) -> float:
    """Return the peak resident memory of a process so far in MB (VmHWM of /proc/PID/status); 0 after its end."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    main()
