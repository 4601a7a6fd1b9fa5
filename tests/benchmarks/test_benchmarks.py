"""The benchmarks run: on a tiny model, so that they do not rot."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from paths import ROOT

pytestmark = pytest.mark.slow

BENCHMARKS = ROOT / "benchmarks"
PEER = "TFBert as saved"
SAVED = {"saved_model float32", "saved_model bfloat16"}

Cases = dict[str, dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Cases]:
    """Give what runs a benchmark on models that all share; returns its rows by case and variant."""
    work, results = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("results")

    def benchmark(name: str, *options: str) -> Cases:
        command = [sys.executable, f"{name}.py", "--size=tiny", "--rounds=1", *options]
        command += [f"--work={work}", f"--results={results}"]
        subprocess.run(command, cwd=BENCHMARKS, check=True)
        report = json.loads((results / f"{name}-tiny.json").read_text(encoding="utf-8"))
        assert report["machine"]["cores"] >= 1
        cases: Cases = {}
        for row in report["rows"]:
            assert row["low"] <= row["median"] <= row["high"]
            case = f"{row['case']} {row['unit']}" if row["at"] is None else f"{row['at']:g} {row['case']} {row['unit']}"
            cases.setdefault(case, {})[row["variant"]] = row
        return cases

    return benchmark


def test_exporting(run: Callable[..., Cases]) -> None:
    """Each export's time, memory and files are measured; the usual route's ratio is 1, files' is to the source."""
    cases = run("exporting")
    for case in ("time s", "peak memory GB"):
        assert cases[case]["usual route, 1 length"]["ratio"] == 1.0
        assert {"bundle bfloat16, 6 lengths", "bundle float32, 6 lengths"} <= cases[case].keys()
        assert min(row["median"] for row in cases[case].values()) > 0.1  # TensorFlow alone takes that much of both
    assert cases["files MB"]["source checkpoint"]["ratio"] == 1.0


def test_engine(run: Callable[..., Cases]) -> None:
    """Every engine is measured in every case, beside the peer, whose ratio is 1, and against the limit."""
    cases = run("engine", "--sentences=8")
    natural = next(case for case in cases if case.startswith("natural lengths"))
    for case in ("[1, 32] seq/s", "[1, 128] seq/s", "[32, 128] seq/s", "[8, 128] x 2 callers seq/s", natural):
        assert cases[case][PEER]["ratio"] == 1.0
        assert {"TFBert, mixed precision", *SAVED, "onnx float32"} <= cases[case].keys()
    assert cases["[32, 128] of the limit seq/s"]["limit: bfloat16 product"]["ratio"] == 1.0
