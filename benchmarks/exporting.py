"""What an export costs: ours, with all lengths, both formats and parity, and the usual route with one length.

    python benchmarks/exporting.py --size base

Each export is a process of its own, run once: its seconds, the most memory it had at a time, and the size of what it
wrote. ``make bench`` begins with it, and the other benchmarks measure the models that it made. The usual route's ONNX
file takes 17 GB of memory for a BERT-base: where they are not free it is left out, and the export of the SavedModel
alone is no measure.
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

from frame import Row, finish, machine, parser, rows_of
from models import BUNDLES, LENGTHS, Models, opened

USUAL = "usual route, 1 length"
SOURCE = "source checkpoint"
NEEDED = {"tiny": 1, "small": 4, "base": 19}
"""GB of free memory that the usual route needs, by size of the model."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process cost: seconds, the most resident memory in GB, and MB of files."""

    seconds: float
    memory: float
    disk: float


def run(command: Sequence[str], made: Sequence[Path]) -> Cost:
    """Run a command, and measure it and what it made.

    Raises:
        CalledProcessError: it failed.
    """
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)  # else Popen would wait for it again
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Cost(seconds, usage.ru_maxrss * 1024 / 1e9, sum(map(size, made)))


def size(path: Path) -> float:
    """Return the MB of a file, or of all files in a directory."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6


def free_memory() -> float:
    """Return the GB of memory that are available (proc(5), meminfo)."""
    found = re.search(r"^MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text(encoding="ascii"), re.MULTILINE)
    return int(found[1]) * 1024 / 1e9 if found else 0.0


def usual_route(models: Models) -> Cost | None:
    """Export both formats the usual way; None without the memory for it: then the SavedModel alone is made."""
    onnx = models.directory / "usual.onnx"
    if free_memory() < NEEDED[models.size]:
        print(f"the usual route is not measured: {free_memory():.0f} GB are free, {NEEDED[models.size]} are needed")
        models.get("usual")
        return None
    return run([*models.command("usual"), str(onnx)], [models.path("usual"), onnx])


def exports(models: Models) -> dict[str, Cost]:
    """Make every model anew; return what each cost."""
    shutil.rmtree(models.directory, ignore_errors=True)
    models.get("checkpoint")
    usual = usual_route(models)
    ours = {
        f"bundle {name}, {len(LENGTHS)} lengths": run(models.command(name), [models.path(name)]) for name in BUNDLES
    }
    return ({USUAL: usual} if usual else {}) | ours


def report(costs: Mapping[str, Cost], source: float) -> list[Row]:
    """Compare costs with the usual route's, or where it could not be measured with the first; files with the source."""
    peer = next(iter(costs))
    found = rows_of("time", "s", {name: [cost.seconds] for name, cost in costs.items()}, peer, less=True)
    found += rows_of("peak memory", "GB", {name: [cost.memory] for name, cost in costs.items()}, peer, less=True)
    disk = {SOURCE: [source]} | {name: [cost.disk] for name, cost in costs.items()}
    return found + rows_of("files", "MB", disk, SOURCE)


def main() -> None:
    """Run the benchmark."""
    options = parser(__doc__).parse_args()
    facts = machine()
    with opened(options) as models:
        costs = exports(models)
        rows = report(costs, size(models.path("checkpoint")))
    finish("exporting", options, facts, rows)


if __name__ == "__main__":
    main()
