"""Shared by all benchmarks: interleaved runs, a description of the machine, ratios, JSON and plots."""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from bertbundle._shared.cores import available_cores
from bertbundle._shared.cpu_features import fast_bfloat16

HERE = Path(__file__).resolve().parent
# Benchmarks import modules of these folders, as tests do. Every benchmark imports this module before them.
sys.path += [str(HERE.parent / "examples"), str(HERE.parent / "tests/support")]
RESULTS = HERE / "results"
_PACKAGES = ("tensorflow", "transformers", "onnxruntime", "openvino", "tf2onnx", "numpy")

# Threads of the engine that ran before may still spin while they wait for work, as onnxruntime's do.
_PAUSE = 0.05

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Row:
    """One variant in one case.

    Attributes:
        case: what was computed, for example ``"[32, 128]"``.
        variant: what computed it.
        unit: unit of the value, for example ``"seq/s"``.
        median, low, high: the value over all rounds.
        ratio: how many times as good as the peer; the median of the ratios within each round.
        at: the value of the quantity that a case varies, for example the number of callers; None if it varies none.
    """

    case: str
    variant: str
    unit: str
    median: float
    low: float
    high: float
    ratio: float
    at: float | None = None


def interleave(variants: Mapping[str, Callable[[], T]], rounds: int) -> tuple[dict[str, T], dict[str, list[T]]]:
    """Call each variant once, then all of them in every round; return the first results and those of the rounds."""
    first = {name: _paused(call) for name, call in variants.items()}
    results: dict[str, list[T]] = {name: [] for name in variants}
    names = list(variants)
    for turn in range(rounds):
        # Each round starts with another variant, so that a variant does not always run after the same one.
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            results[name].append(_paused(variants[name]))
    return first, results


def interleaved_seconds(
    variants: Mapping[str, Callable[[], object]], rounds: int
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Return how many seconds the calls take, see `interleave`."""
    return interleave({name: partial(seconds, call) for name, call in variants.items()}, rounds)


def _paused(call: Callable[[], T]) -> T:
    time.sleep(_PAUSE)
    return call()


def seconds(call: Callable[[], object]) -> float:
    """Return how many seconds a call takes."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def rows_of(
    case: str,
    unit: str,
    values: Mapping[str, Sequence[float]],
    peer: str,
    *,
    less: bool = False,
    at: float | None = None,
) -> list[Row]:
    """Summarize the values of each variant over the rounds; with `less`, smaller is better."""
    base = np.array(values[peer])
    rows = []
    for name, measured in values.items():
        ratios = base / np.array(measured) if less else np.array(measured) / base
        low, median, high = np.percentile(measured, [0, 50, 100])
        rows.append(Row(case, name, unit, float(median), float(low), float(high), float(np.median(ratios)), at))
    return rows


def free_port() -> int:
    """Return a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def machine() -> dict[str, object]:
    """Return the facts that the figures depend on: processor, load, and versions of the packages."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="ascii", errors="replace") if cpuinfo.is_file() else ""
    model = re.search(r"^model name\s*:\s*(.*)$", text, re.MULTILINE)
    installed = [name for name in _PACKAGES if importlib.util.find_spec(name)]
    return {
        "processor": model[1] if model else platform.processor(),
        "bfloat16": fast_bfloat16() or "none",
        "cores": available_cores(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "time": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        **{name: importlib.metadata.version(name) for name in installed},
    }


def parser(text: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that all benchmarks share."""
    result = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument(
        "--size", choices=("tiny", "small", "base"), default="base", help="size of the model (default: %(default)s)"
    )
    result.add_argument("--rounds", type=int, default=7)
    result.add_argument(
        "--work", type=Path, metavar="DIR", help="keep the models in DIR, and reuse those that are already in it"
    )
    result.add_argument("--results", type=Path, default=RESULTS, help="directory for the JSON file and the plot")
    return result


def finish(name: str, options: argparse.Namespace, facts: Mapping[str, object], rows: Sequence[Row]) -> None:
    """Print the rows and write ``NAME-SIZE.json`` and, if matplotlib is installed, ``NAME-SIZE.png``."""
    print("  ".join(f"{key} {value}" for key, value in facts.items()))
    for row in rows:
        spread = f"{row.low:.4g} to {row.high:.4g}"
        case = row.case if row.at is None else f"{row.at:g} {row.case}"
        print(f"{case:38} {row.variant:26} {row.median:10.4g} {row.unit:8} ({spread})  {row.ratio:.2f}x")
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / f"{name}-{options.size}.json"
    report = {"machine": dict(facts), "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if importlib.util.find_spec("matplotlib"):
        _plot(path.with_suffix(".png"), f"{name}, {options.size} model, {facts['processor']}", rows)


def _plot(path: Path, title: str, rows: Sequence[Row]) -> None:
    from matplotlib.figure import Figure

    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(f"{row.case} ({row.unit})", []).append(row)
    heights = [0.5 + (2.5 if group[0].at is not None else 0.28 * len(group)) for group in groups.values()]
    figure = Figure(figsize=(9, 1 + sum(heights)), layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(len(groups), squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axes, (name, group) in zip(panels, groups.items(), strict=True):
        axes.set_title(name, loc="left", fontsize=9)
        (bars if group[0].at is None else lines)(axes, group)
    figure.savefig(path, dpi=100)


def bars(axes: Any, rows: Sequence[Row]) -> None:
    """Draw a bar per variant, with its range and its ratio."""
    shown = rows[::-1]
    spread = [[row.median - row.low for row in shown], [row.high - row.median for row in shown]]
    bar_container = axes.barh([row.variant for row in shown], [row.median for row in shown], xerr=spread)
    axes.bar_label(bar_container, [f" {row.ratio:.2f}x" for row in shown])
    axes.margins(x=0.1)


def lines(axes: Any, rows: Sequence[Row]) -> None:
    """Draw a line per variant, over the quantity that the case varies."""
    for variant in dict.fromkeys(row.variant for row in rows):
        shown = [row for row in rows if row.variant == variant]
        spread = [[row.median - row.low for row in shown], [row.high - row.median for row in shown]]
        axes.errorbar([row.at for row in shown], [row.median for row in shown], spread, marker="o", label=variant)
    axes.set_ylim(0, 1.1 * max(row.high for row in rows))
    axes.legend(fontsize=8)
