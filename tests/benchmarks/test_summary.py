"""The table of targets: in README.md and docs/benchmarks.md, and how figures become rows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from paths import ROOT

SUMMARY = ROOT / "benchmarks/summary.py"
MARK = "<!-- benchmarks -->"
PAGES = ("docs/benchmarks.md", "README.md")


def cells(text: str) -> list[list[str]]:
    """Return the cells of a Markdown table without its header."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def summary(results: Path) -> list[list[str]]:
    """Run the summary on results and return the cells of the table that it writes."""
    command = [sys.executable, str(SUMMARY), "--size=tiny", f"--results={results}"]
    # Without matplotlib it ends with an error after the table.
    subprocess.run(command, check=False, capture_output=True)
    return cells((results / "summary-tiny.md").read_text(encoding="utf-8"))


def write(results: Path, benchmark: str, *rows: dict[str, Any]) -> None:
    """Write a report in the format of the benchmarks."""
    machine = {"processor": "one", "bfloat16": "amx_bf16", "cores": 2, "load": 0.1, "time": "2026-01-01T00:00:00"}
    full = [{"low": row["median"], "high": row["median"], "at": None, **row} for row in rows]
    (results / f"{benchmark}-tiny.json").write_text(json.dumps({"machine": machine, "rows": full}), encoding="utf-8")


@pytest.fixture
def table(tmp_path: Path) -> list[list[str]]:
    """The table of two benchmarks."""
    row = {"case": "[32, 128]", "unit": "seq/s", "variant": "saved_model bfloat16", "median": 50.0, "ratio": 6.25}
    slow = {
        "case": "[32, 128] of the limit",
        "unit": "seq/s",
        "variant": "openvino bfloat16",
        "median": 5.0,
        "ratio": 0.1,
    }
    write(tmp_path, "engine", row, slow)
    load = {"case": "load to AVAILABLE", "unit": "s", "variant": "saved_model bfloat16", "median": 1.5, "ratio": 1.0}
    write(tmp_path, "loading", load)
    return summary(tmp_path)


def test_pages_have_the_rows_of_the_summary(table: list[list[str]]) -> None:
    """The tables of the README and of docs/benchmarks.md are one, with the names and targets of the summary."""
    page, readme = ((ROOT / name).read_text(encoding="utf-8").split(MARK)[1] for name in PAGES)
    assert [row[:2] for row in cells(page)] == [row[:2] for row in table]
    assert cells(readme) == cells(page)
    assert ("](benchmarks.png)" in page, "](docs/benchmarks.png)" in readme) == (True, True)
    assert (ROOT / "docs/benchmarks.png").is_file()


def test_every_row_names_its_command(table: list[list[str]]) -> None:
    """Every row names the commands that measure its figures, and these scripts exist."""
    for row in table:
        commands = row[-1].split(", ")
        assert all((ROOT / command.strip("`").removeprefix("python ")).is_file() for command in commands)


def test_figures(table: list[list[str]]) -> None:
    """A figure above its bound is reached, one below is not, and without results it is not measured."""
    by_command = {row[-1].strip("`").split("/")[-1]: row for row in table}
    assert table[0][2:4] == ["6.2x", "yes"]
    limit = next(row for row in table if row[0].startswith("share of the best"))
    assert limit[2] == "10%"
    assert limit[3] == "no"
    assert by_command["loading.py"][2:4] == ["1.5 s / not measured", "not measured"]
    assert by_command["served.py"][2:4] == ["not measured", "not measured"]


def test_reason_has_figures_of_the_same_run(tmp_path: Path) -> None:
    """A target that is not reached shows the reason, with figures of the same run."""
    slow = {"case": "[32, 128]", "unit": "seq/s", "variant": "saved_model bfloat16", "median": 20.0, "ratio": 2.5}
    limit = {**slow, "variant": "limit: bfloat16 product", "ratio": 3.0}
    write(tmp_path, "engine", slow, limit, {**slow, "case": "[32, 128] of the limit", "ratio": 0.83})
    reason = summary(tmp_path)[0][3]
    assert reason.startswith("no: 3.0x is what the best bfloat16 product of this processor")
    assert reason.endswith("ours is at 83% of it")
