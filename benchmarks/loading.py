"""Load time and memory of a server with SavedModels, by the lengths that have run and by the number of models.

    python benchmarks/loading.py --size base

Starts a server process with TensorFlow and an empty model, adds a model, and measures the seconds until it is
AVAILABLE; this includes warmup requests, which run every length of a bundle. Then adds a second and a third model, and
requests rows of each length. A server without warmup shows the memory that each length takes.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory

from bertbundle import Client, ModelNotFound
from harness import HERE, Row, finish, interleave, machine, parser, rows_of
from local_server import server_process
from models import LENGTHS, PEER, SECONDS, SERVED, open_models, requester

MODELS = 3
ROWS = 8
CONFIG = 'config {{ name: "{}" base_path: "{}" model_platform: "tensorflow" }}'
POLL = 0.02
SETTLE = 1.0
"""Seconds after which a server that accepts connections also polls its config."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Cost of a server.

    Attributes:
        seconds: time until the first model was available.
        cold: time until the first model was available, without warmup.
        empty: GB of memory before the first model.
        lengths: GB of memory with one model and no warmup, after none, one, two, ... of its lengths have run.
        models: GB of memory with one, two, ... models, after all of their lengths have run.
    """

    seconds: float
    cold: float
    empty: float
    lengths: Sequence[float]
    models: Sequence[float]


def load(version: Path, empty: Path) -> Loaded:
    """Start two servers: one loads a model several times, the other loads it once without warmup."""
    _, cold, lengths = load_one_by_one(version, empty, 1, "--enable_model_warmup=false")
    before, seconds, memory = load_one_by_one(version, empty, MODELS)
    return Loaded(seconds[0], cold[0], before, lengths[0], [each[-1] for each in memory])


def load_one_by_one(
    version: Path, empty: Path, models: int, *flags: str
) -> tuple[float, list[float], list[list[float]]]:
    """Load models one by one; return the memory before, and the seconds and memory figures of each."""
    seconds, memory = [], []
    with TemporaryDirectory() as scratch:
        config = Path(scratch) / "models.config"
        write(config, {"empty": empty})
        watch = [f"--model_config_file={config}", f"--model_config_file_poll_wait_seconds={POLL}", "--port=0"]
        command = [sys.executable, "-m", "bertbundle_serving", "--runtime=saved_model", *watch, *flags]
        with server_process(command) as (process, address):
            time.sleep(SETTLE)
            before = resident(process)
            for number in range(1, models + 1):
                names = [f"model{index}" for index in range(number)]
                seconds.append(add(config, {"empty": empty} | dict.fromkeys(names, version.parent), address))
                memory.append(run_lengths(requester(address, names[-1], version), partial(resident, process)))
    return before, seconds, memory


def write(config: Path, models: dict[str, Path]) -> None:
    """Replace a server's model config atomically."""
    entries = " ".join(CONFIG.format(name, base) for name, base in models.items())
    partial_file = config.with_suffix(".part")
    partial_file.write_text(f"model_config_list {{ {entries} }}", encoding="utf-8")
    partial_file.rename(config)


def add(config: Path, models: dict[str, Path], address: str) -> float:
    """Configure a server's models; return the seconds until the last one is available."""
    begin = time.perf_counter()
    write(config, models)
    with Client(address, list(models)[-1]) as client:
        while not available(client):
            time.sleep(POLL)
            if time.perf_counter() - begin > SECONDS:
                raise SystemExit(f"{list(models)[-1]} is not available after {SECONDS:g} s")
    return time.perf_counter() - begin


def available(client: Client) -> bool:
    """Return whether a model is available."""
    try:
        return any(status.state == "AVAILABLE" for status in client.status())
    except ModelNotFound:  # the server has not read the config yet
        return False


def run_lengths(request: Callable[[int, int], object], memory: Callable[[], float]) -> list[float]:
    """Request rows of each length in turn; return the memory before and after each."""
    found = [memory()]
    for length in LENGTHS:
        request(ROWS, length)
        found.append(memory())
    return found


def resident(process: int) -> float:
    """Return the resident memory of a process in GB (VmRSS of /proc/PID/status)."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
    if not found:
        raise SystemExit(f"process {process} has ended")
    return int(found[1]) * 1024 / 1e9


def report(results: dict[str, list[Loaded]]) -> list[Row]:
    """Summarize the costs of the servers."""

    def rows(case: str, unit: str, value: Callable[[Loaded], float], at: float | None = None) -> list[Row]:
        values = {name: [value(each) for each in every] for name, every in results.items()}
        return rows_of(case, unit, values, PEER, less=True, at=at)

    found = rows("load to AVAILABLE", "s", attrgetter("seconds"))
    found += rows("load without warm-up", "s", attrgetter("cold"))
    found += rows("empty TensorFlow process", "GB", attrgetter("empty"))
    for count in range(len(LENGTHS) + 1):
        found += rows("lengths that ran", "GB", lambda each: each.lengths[count], count)  # noqa: B023 - called at once
    for count in range(MODELS):
        found += rows("models that ran", "GB", lambda each: each.models[count], count + 1)  # noqa: B023
    return found


def main() -> None:
    """Run the benchmark."""
    options = parser(__doc__).parse_args()
    facts = machine()
    with open_models(options) as models, TemporaryDirectory() as scratch:
        empty = Path(scratch) / "empty"
        subprocess.run([sys.executable, str(HERE / "empty_model.py"), str(empty / "1")], check=True)
        saved = [(name, models.get(model)) for name, model, runtime in SERVED if runtime == "saved_model"]
        first, others = interleave(
            {name: partial(load, version, empty) for name, version in saved}, options.rounds // 3
        )
        rows = report({name: [first[name], *others[name]] for name in first})
    finish("loading", options, facts, rows)


if __name__ == "__main__":
    main()
