"""How close the embedded server comes to its own engine: many callers, mixed lengths and batch sizes.

    python benchmarks/serving_load.py models/my-model --seconds 20

Prints sequences per second of the server under load, of the same runtime called in a loop with full batches and no
server, their ratio, and the latencies. The two take turns in one run: a shared machine is noisy, and only the ratio
counts. Everything runs on this machine; callers share its cores with the server.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

from bertbundle.manifest import Manifest
from bertbundle.transport import GrpcTransport
from bertbundle_serving.runtimes import RuntimeOptions, loader
from local_server import serving

BATCHES = (1, 1, 1, 2, 4, 8)
"""Rows per request; chosen at random."""


def features(manifest: Manifest, length: int, rows: int) -> dict[str, np.ndarray[Any, Any]]:
    """Return inputs whose tokens are all real."""
    rng = np.random.default_rng(length)
    ids = rng.integers(1, manifest.inputs[0].size, (rows, length)).astype(np.int32)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


class Caller(threading.Thread):
    """Asks until it is told to stop."""

    def __init__(self, address: str, model: str, manifest: Manifest, output: str, seed: int) -> None:
        super().__init__()
        self._transport, self._model = GrpcTransport(address), model
        self._manifest, self._output = manifest, output
        self._random = np.random.default_rng(seed)
        self.stop = threading.Event()
        self.seconds: list[float] = []
        self.sequences: dict[str, int] = dict.fromkeys(manifest.signatures, 0)

    def run(self) -> None:
        """Ask."""
        names = list(self._manifest.signatures)
        while not self.stop.is_set():
            signature = names[self._random.integers(len(names))]
            rows = int(BATCHES[self._random.integers(len(BATCHES))])
            inputs = features(self._manifest, self._manifest.signatures[signature], rows)
            begin = time.perf_counter()
            self._transport.predict(self._model, signature, inputs, outputs=[self._output], timeout=120)
            self.seconds.append(time.perf_counter() - begin)
            self.sequences[signature] += rows


def served(address: str, model: str, manifest: Manifest, output: str, callers: int, seconds: float) -> list[Caller]:
    """Put load on a server and return the callers, done."""
    started = [Caller(address, model, manifest, output, seed) for seed in range(callers)]
    for caller in started:
        caller.start()
    time.sleep(seconds)
    for caller in started:
        caller.stop.set()
    for caller in started:
        caller.join()
    return started


def computed(servable: Any, manifest: Manifest, output: str, mix: dict[str, int], rows: int) -> float:
    """Return the sequences per second of the engine alone for the same mix of lengths, in full batches."""
    begin = time.perf_counter()
    for signature, sequences in mix.items():
        inputs = features(manifest, manifest.signatures[signature], rows)
        for _ in range(max(1, round(sequences / rows))):
            servable.run(signature, inputs, [output])
    total = sum(max(1, round(sequences / rows)) * rows for sequences in mix.values())
    return total / (time.perf_counter() - begin)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path, help="the directory of a model's versions")
    parser.add_argument("--callers", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=20.0, help="of load per round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--output", help="the output asked for (default: the first)")
    parser.add_argument("--rows", type=int, default=8, help="rows per batch of the engine alone")
    parser.add_argument("flags", nargs="*", help="name=value, further flags of the server")
    options = parser.parse_intermixed_args()
    version = max(options.base.iterdir(), key=lambda path: int(path.name) if path.name.isdigit() else 0)
    manifest = Manifest.read(version)
    output = options.output or manifest.outputs[0].name
    flags = dict(flag.split("=", 1) for flag in options.flags)
    servable = loader(flags.get("runtime", "auto"), RuntimeOptions())(version)
    for round_number in range(options.rounds):
        with serving(model_name=options.base.name, model_base_path=options.base, **flags) as address:
            begin = time.perf_counter()
            callers = served(address, options.base.name, manifest, output, options.callers, options.seconds)
            elapsed = time.perf_counter() - begin
        mix = {name: sum(caller.sequences[name] for caller in callers) for name in manifest.signatures}
        under_load = sum(mix.values()) / elapsed
        alone = computed(servable, manifest, output, mix, options.rows)
        seconds = np.array([s for caller in callers for s in caller.seconds])
        p50, p99 = np.percentile(seconds, [50, 99]) * 1e3
        print(
            f"round {round_number + 1}: served {under_load:.1f} seq/s, engine alone {alone:.1f} seq/s, "
            f"ratio {under_load / alone:.2f}; p50 {p50:.0f} ms, p99 {p99:.0f} ms, p99/p50 {p99 / p50:.1f}"
        )


if __name__ == "__main__":
    main()
