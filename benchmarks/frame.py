"""What every benchmark does alike: take turns, tell the machine, print ratios, write JSON and a plot."""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bertbundle.processor import fast_bfloat16
from bertbundle_serving.cores import available_cores

RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("tensorflow", "transformers", "onnxruntime", "openvino", "tf2onnx", "numpy")

# Threads of the engine before may still spin, waiting for more work (onnxruntime's do).
_PAUSE = 0.05


@dataclass(frozen=True, slots=True)
class Row:
    """One variant in one case.

    Attributes:
        case: what was computed, for example ``"[32, 128]"``.
        variant: by what.
        unit: of the value, for example ``"seq/s"``.
        median, low, high: of the value over the rounds.
        ratio: how many times as good as the peer: the median of the rounds' ratios, for a round's values were taken
            one after the other.
    """

    case: str
    variant: str
    unit: str
    median: float
    low: float
    high: float
    ratio: float


def seconds_in_turns(
    variants: Mapping[str, Callable[[], object]], rounds: int
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Call each variant once, then all in turns; return the seconds of the first calls, and of each round."""
    first = {name: _seconds(call) for name, call in variants.items()}
    taken: dict[str, list[float]] = {name: [] for name in variants}
    names = list(variants)
    for turn in range(rounds):
        # Another one begins each round, so that nobody always comes after the same neighbour.
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            taken[name].append(_seconds(variants[name]))
    return first, taken


def _seconds(call: Callable[[], object]) -> float:
    time.sleep(_PAUSE)
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def rows_of(case: str, unit: str, values: Mapping[str, Sequence[float]], peer: str, *, less: bool = False) -> list[Row]:
    """Summarise the rounds' values of each variant; `less` says that less is better."""
    base = np.array(values[peer])
    rows = []
    for name, taken in values.items():
        ratios = base / np.array(taken) if less else np.array(taken) / base
        low, median, high = np.percentile(taken, [0, 50, 100])
        rows.append(Row(case, name, unit, float(median), float(low), float(high), float(np.median(ratios))))
    return rows


def machine() -> dict[str, object]:
    """Return what the figures depend on."""
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
    """Return a parser with the options that every benchmark has."""
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--size", choices=("tiny", "small", "base"), default="base", help="of the model (default: base)")
    made.add_argument("--rounds", type=int, default=7)
    made.add_argument("--results", type=Path, default=RESULTS, help="where JSON and plot go")
    return made


def finish(name: str, options: argparse.Namespace, facts: Mapping[str, object], rows: Sequence[Row]) -> None:
    """Print the rows, and write ``NAME-SIZE.json`` and, where matplotlib is installed, ``NAME-SIZE.png``."""
    print("  ".join(f"{key} {value}" for key, value in facts.items()))
    for row in rows:
        spread = f"{row.low:.4g} to {row.high:.4g}"
        print(f"{row.case:20} {row.variant:26} {row.median:10.4g} {row.unit:8} ({spread})  {row.ratio:.2f}x")
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / f"{name}-{options.size}.json"
    report = {"machine": dict(facts), "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if importlib.util.find_spec("matplotlib"):
        _plot(path.with_suffix(".png"), f"{name}, {options.size} model, {facts['processor']}", rows)


def _plot(path: Path, title: str, rows: Sequence[Row]) -> None:
    from matplotlib.figure import Figure

    cases = list(dict.fromkeys(row.case for row in rows))
    figure = Figure(figsize=(9, 1 + 0.28 * len(rows) + 0.5 * len(cases)), layout="constrained")
    figure.suptitle(title)
    for axes, case in zip(figure.subplots(len(cases), squeeze=False)[:, 0], cases, strict=True):
        shown = [row for row in rows if row.case == case][::-1]
        spread = [[row.median - row.low for row in shown], [row.high - row.median for row in shown]]
        bars = axes.barh([row.variant for row in shown], [row.median for row in shown], xerr=spread)
        axes.bar_label(bars, [f" {row.ratio:.2f}x" for row in shown])
        axes.set_title(f"{case} ({shown[0].unit})", loc="left", fontsize=9)
    figure.savefig(path, dpi=120)
