"""The targets and the measured figures, as a table and as a plot.

    python benchmarks/summary.py --size base --docs

Reads the results of the benchmarks, prints the table, and writes it beside them with a plot. ``--docs`` inserts both
into docs/benchmarks.md and README.md. The table says "not measured" for benchmarks that were not run, and gives the
reason for targets that were not reached.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import HERE, RESULTS, Row, bars, lines
from targets import TARGETS, Figure, Goal, Reason, Target

ROOT = HERE.parent
PLOT = ROOT / "docs/benchmarks.png"
PAGES = (ROOT / "docs/benchmarks.md", ROOT / "README.md")
MARK = "<!-- benchmarks -->"
HEAD = ("| what | target | measured | reached | command |", "|---|---|---|---|---|")

# Title, benchmark, prefix of the case, unit, and drawing function.
PANELS: tuple[tuple[str, str, str, str, Callable[[Any, Sequence[Row]], None]], ...] = (
    ("in process, 32 rows of 128 tokens: sequences/s", "engine", "[32, 128]", "seq/s", bars),
    ("in process, sentences of natural length: sequences/s", "engine", "natural lengths", "seq/s", bars),
    ("through gRPC, sentences of natural length: sequences/s by callers", "served", "callers, ", "seq/s", lines),
    ("through gRPC, p99 latency: ms by callers", "served", "callers, ", "ms p99", lines),
    ("a server's resident memory: GB by lengths that ran, without warmup", "loading", "lengths that ran", "GB", lines),
)


@dataclass(frozen=True, slots=True)
class Report:
    """The rows of a benchmark, and the machine that it ran on."""

    machine: dict[str, Any]
    rows: tuple[Row, ...]


def read_reports(results: Path, size: str) -> dict[str, Report]:
    """Read the results of the benchmarks that have been run, by name."""
    found = {}
    for path in sorted(results.glob(f"*-{size}.json")):
        report = json.loads(path.read_text(encoding="utf-8"))
        rows = tuple(Row(**row) for row in report["rows"])
        found[path.stem.removesuffix(f"-{size}")] = Report(report["machine"], rows)
    return found


def table(reports: dict[str, Report]) -> list[str]:
    """Return the lines of the Markdown table."""
    return [*HEAD, *(line(target, reports) for target in TARGETS)]


def line(target: Target, reports: dict[str, Report]) -> str:
    """Return the row of one target."""
    values = [value_of(goal, reports) for goal in target.goals]
    measured = [
        "not measured" if value is None else goal.show.format(value)
        for goal, value in zip(target.goals, values, strict=True)
    ]
    reached = all(value is not None and goal.holds(value) for goal, value in zip(target.goals, values, strict=True))
    result = "yes" if reached else "not measured" if None in values else "no" + explain(target.why, reports)
    commands = ", ".join(f"`python benchmarks/{name}.py`" for name in dict.fromkeys(g.benchmark for g in target.goals))
    return f"| {target.what} | {target.target} | {' / '.join(measured)} | {result} | {commands} |"


def explain(reason: Reason | None, reports: dict[str, Report]) -> str:
    """Return a reason with its figures; empty without a reason or if one of its figures was not measured."""
    figures = () if reason is None else reason.figures
    values = [value_of(figure, reports) for figure in figures]
    if reason is None or None in values:
        return ""
    return ": " + reason.text.format(*(figure.show.format(v) for figure, v in zip(figures, values, strict=True)))


def value_of(goal: Goal | Figure, reports: dict[str, Report]) -> float | None:
    """Return the figure of a goal or a reason; None if it was not measured."""
    return goal.value(reports[goal.benchmark].rows) if goal.benchmark in reports else None


def heading(reports: dict[str, Report], size: str) -> str:
    """Return a description of the machine and the conditions."""
    facts = next(iter(reports.values())).machine
    load = max(report.machine["load"] for report in reports.values())
    amx = "" if facts["bfloat16"] == "amx_bf16" else ", without the AMX that the targets are for"
    return (
        f"BERT-{size} with random weights, {facts['processor']} ({facts['bfloat16']}{amx}), {facts['cores']} cores, "
        f"{facts['time'][:10]}, load up to {load:g} before a benchmark began; ratios are medians of rounds in which "
        "both took turns."
    )


def draw(reports: dict[str, Report], path: Path) -> None:
    """Draw the panels of the benchmarks that have been run."""
    from matplotlib.figure import Figure

    shown = [
        (title, [row for row in reports[name].rows if row.case.startswith(case) and row.unit == unit], draw_rows)
        for title, name, case, unit, draw_rows in PANELS
        if name in reports
    ]
    panels = [(title, first_case(rows), draw_rows) for title, rows, draw_rows in shown if rows]
    figure = Figure(figsize=(9, 2.6 * len(panels)), layout="constrained")
    for axes, (title, rows, draw_rows) in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels, strict=True):
        axes.set_title(title, loc="left", fontsize=9)
        draw_rows(axes, rows)
    figure.savefig(path, dpi=100)


def first_case(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of the first case: other cases may have the same prefix."""
    return [row for row in rows if row.case == rows[0].case]


def between_marks(text: str, lines_: Iterable[str]) -> str:
    """Return a text with the lines between its two marks replaced."""
    before, _, after = text.split(MARK)
    return "\n".join((f"{before}{MARK}", *lines_, f"{MARK}{after}"))


def main() -> None:
    """Print and write the summary."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--size", default="base", help="size of the model (default: %(default)s)")
    arguments.add_argument("--results", type=Path, default=RESULTS, help="directory with the results of the benchmarks")
    arguments.add_argument(
        "--docs", action="store_true", help="insert table and plot into docs/benchmarks.md and README.md"
    )
    options = arguments.parse_args()
    reports = read_reports(options.results, options.size)
    if not reports:
        raise SystemExit(f"no results of size {options.size} in {options.results}. Run make bench first.")
    text = [heading(reports, options.size), "", *table(reports)]
    print(*text, sep="\n")
    (options.results / f"summary-{options.size}.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    if importlib.util.find_spec("matplotlib") is None:
        raise SystemExit("the plot needs matplotlib: pip install -e '.[bench]'.")
    draw(reports, options.results / f"summary-{options.size}.png")
    if options.docs:
        draw(reports, PLOT)
        for page in PAGES:
            picture = f"![sequences per second, latency and memory]({PLOT.relative_to(page.parent)})"
            page.write_text(between_marks(page.read_text(encoding="utf-8"), [*text, "", picture]), encoding="utf-8")


if __name__ == "__main__":
    main()
