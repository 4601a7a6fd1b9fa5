"""Shared by the client's benchmarks: interleaved runs and reports."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def interleave(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Run both alternately and return their median seconds; the first run of each is not counted."""
    ours()
    theirs()
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(rounds)]
    return statistics.median(ours for ours, _ in pairs), statistics.median(theirs for _, theirs in pairs)


def seconds(run: Callable[[], object]) -> float:
    """Return how many seconds a call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def report(name: str, figures: Mapping[str, Any], arguments: argparse.Namespace) -> None:
    """Print figures, and write them as JSON if ``--json`` names a file."""
    for key, value in figures.items():
        print(f"{name}: {key} = {value:.4g}" if isinstance(value, float) else f"{name}: {key} = {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"benchmark": name, **figures}, indent=1) + "\n", encoding="utf-8")


def parser(text: str) -> argparse.ArgumentParser:
    """Return a parser with the options that all benchmarks share."""
    result = argparse.ArgumentParser(description=text)
    result.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file")
    result.add_argument("--rounds", type=int, default=5, help="runs of each side (default: %(default)s)")
    return result


def shared_file(name: str) -> Path:
    """Return the path of a file in the data directory (see CONTRIBUTING.md), or exit with a message."""
    import os

    directory = Path(os.environ.get("BERTBUNDLE_DATA") or Path(__file__).resolve().parents[3] / "shared")
    if not (directory / name).exists():
        raise SystemExit(f"needs {name} in {directory}; set BERTBUNDLE_DATA to the directory that contains it")
    return directory / name


def chinese_sentences(count: int) -> list[str]:
    """Return Chinese sentences of natural length, repeated if there are too few."""
    lines = shared_file("data/msra-ner/test.bio.txt").read_text(encoding="utf-8").split("\n")
    sentences, chars = [], []
    for line in [*lines, ""]:
        if line.strip():
            chars.append(line.split()[0])
        elif chars:
            sentences.append("".join(chars)[:126])
            chars = []
    return (sentences * (count // len(sentences) + 1))[:count]
