"""Cost of an export: a bundle with all lengths, both formats and parity, compared with the usual route with one length.

    python benchmarks/exporting.py --size base

The usual route is an export with transformers and tf2onnx (usual_route.py). Each export runs once, in a separate
process. Measures its time, its peak memory and the size of its files. ``make bench`` starts with this benchmark, and
the others measure the models that it exports. The usual route needs 17 GB of memory to convert a BERT-base to ONNX. If
less memory is free, it only saves the SavedModel, for the other benchmarks, and is not measured.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import Row, finish, machine, parser, rows_of
from models import BUNDLES, LENGTHS, Models, open_models

USUAL = "usual route, 1 length"
SOURCE = "source checkpoint"
SAVED_MODEL = ("saved_model.pb", "variables")
EXPORTED = [name for name in BUNDLES if name != "float16"]  # that is for gpu.py, which exports it
NEEDED = {"tiny": 1, "small": 4, "base": 19}
"""Free memory in GB that the usual route needs, by model size."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of a process: seconds, peak resident memory in GB, size of its files and of its SavedModel in MB."""

    seconds: float
    memory: float
    disk: float
    saved_model: float


def run(command: Sequence[str], outputs: Sequence[Path]) -> Cost:
    """Run a command and measure its cost.

    Args:
        command: the program and its arguments.
        outputs: the files or directories that it writes.

    Raises:
        CalledProcessError: the command failed.
    """
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)  # otherwise Popen would wait for the process again
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    saved_model = sum(size(path / name) for path in outputs if path.is_dir() for name in SAVED_MODEL)
    return Cost(seconds, usage.ru_maxrss * 1024 / 1e9, sum(map(size, outputs)), saved_model)


def size(path: Path) -> float:
    """Return the size of a file, or of all files in a directory, in MB."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6


def free_memory() -> float:
    """Return the available memory in GB (MemAvailable of /proc/meminfo)."""
    found = re.search(r"^MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text(encoding="ascii"), re.MULTILINE)
    return int(found[1]) * 1024 / 1e9 if found else 0.0


def usual_route(models: Models) -> Cost | None:
    """Export both formats by the usual route; without enough memory, write only the SavedModel and return None."""
    onnx = models.directory / "usual.onnx"
    if free_memory() < NEEDED[models.size]:
        print(f"usual route: not measured, needs {NEEDED[models.size]} GB of memory, {free_memory():.0f} are free")
        models.get("usual")
        return None
    return run([*models.command("usual"), str(onnx)], [models.path("usual"), onnx])


def exports(models: Models) -> dict[str, Cost]:
    """Export every model again and return the cost of each."""
    shutil.rmtree(models.directory, ignore_errors=True)
    models.get("checkpoint")
    usual = usual_route(models)
    ours = {
        f"bundle {name}, {len(LENGTHS)} lengths": run(models.command(name), [models.path(name)]) for name in EXPORTED
    }
    return ({USUAL: usual} if usual else {}) | ours


def report(costs: Mapping[str, Cost], source: float) -> list[Row]:
    """Compare time and memory with the usual route, or with the first export without it; files with the source."""
    peer = next(iter(costs))
    found = rows_of("time", "s", {name: [cost.seconds] for name, cost in costs.items()}, peer, less=True)
    found += rows_of("peak memory", "GB", {name: [cost.memory] for name, cost in costs.items()}, peer, less=True)
    disk = {SOURCE: [source]} | {name: [cost.disk] for name, cost in costs.items()}
    saved = {name: [cost.saved_model] for name, cost in costs.items()}
    return found + rows_of("files", "MB", disk, SOURCE) + rows_of("SavedModel", "MB", saved, peer)


def main() -> None:
    """Run the benchmark."""
    options = parser(__doc__).parse_args()
    facts = machine()
    with open_models(options) as models:
        costs = exports(models)
        rows = report(costs, size(models.path("checkpoint")))
    finish("exporting", options, facts, rows)


if __name__ == "__main__":
    main()
