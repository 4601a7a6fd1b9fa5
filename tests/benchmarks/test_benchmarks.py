"""`make bench-quick` on a tiny model: every benchmark runs and writes the rows that the summary reads."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bertbundle_serving.runtimes.cuda import onnxruntime_cuda_problem
from optional import require_package, skip_without
from paths import ROOT

pytestmark = pytest.mark.slow

BENCHMARKS = ROOT / "benchmarks"
PEER = "TFBert as saved"
NOT_RUN = ("peers.py", "embeddings_route.py", "accuracy.py", "replicas.py", "bulk_engines.py")
"""Benchmarks that need peers, data or programs that may be missing."""
SAVED = {"saved_model float32", "saved_model bfloat16"}

Cases = dict[str, dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory for the results of all benchmarks."""
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, results: Path) -> Callable[..., Cases]:
    """A function that runs a benchmark and returns its rows by case and variant; all share the same models."""
    work = tmp_path_factory.mktemp("work")

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
    """Time and memory of each export are relative to the usual route, and file sizes to the source checkpoint."""
    cases = run("exporting")
    for case in ("time s", "peak memory GB"):
        assert cases[case]["usual route, 1 length"]["ratio"] == 1.0
        assert {"bundle bfloat16, 6 lengths", "bundle float32, 6 lengths"} <= cases[case].keys()
        assert min(row["median"] for row in cases[case].values()) > 0.1  # TensorFlow alone takes more of both
    assert cases["files MB"]["source checkpoint"]["ratio"] == 1.0


def test_engine(run: Callable[..., Cases]) -> None:
    """Every engine is measured in every case, relative to the peer and to the limit."""
    cases = run("engine", "--sentences=8")
    natural = next(case for case in cases if case.startswith("natural lengths"))
    for case in ("[1, 32] seq/s", "[1, 128] seq/s", "[32, 128] seq/s", "[8, 128] x 2 callers seq/s", natural):
        assert cases[case][PEER]["ratio"] == 1.0
        assert {"TFBert, mixed precision", *SAVED, "onnx float32"} <= cases[case].keys()
    assert cases["[32, 128] of the limit seq/s"]["limit: bfloat16 product"]["ratio"] == 1.0


def test_gpu(run: Callable[..., Cases]) -> None:
    """The bundles are compared with TFBert as saved, with XLA and with mixed precision."""
    if onnxruntime_cuda_problem():
        skip_without("an NVIDIA GPU")
    command = [sys.executable, "-c", "import gpu; print(gpu.problem())"]
    problem = subprocess.run(command, cwd=BENCHMARKS, check=True, capture_output=True, text=True).stdout.strip()
    if problem:
        skip_without("an NVIDIA GPU")
    cases = run("gpu")
    for case in ("[1, 32] seq/s", "[256, 128] seq/s", "[32, 128] x 4 callers seq/s"):
        assert cases[case][PEER]["ratio"] == 1.0
        assert {"TFBert, XLA", "TFBert, mixed precision", "onnx float32", "onnx float16"} <= cases[case].keys()


def test_served(run: Callable[..., Cases]) -> None:
    """Every server is measured in every case, relative to the peer."""
    cases = run("served", "--sentences=8")
    callers = {case.split()[0] for case in cases if " callers, " in case and case.endswith("seq/s")}
    assert callers == {"1", "2", "4", "8", "16", "32"}
    short = cases["20 tokens, 1 caller ms p50"]
    assert short[PEER]["ratio"] == 1.0
    assert SAVED | {"auto", "auto int8"} <= short.keys()


def test_shared_cores(run: Callable[..., Cases]) -> None:
    """Throughput and processor time of each server are relative to its engine, without and with a busy neighbour."""
    cases = run("shared_cores", "--sentences=48")
    for variant in ("saved_model bfloat16", "saved_model int8", "auto", "auto int8", "onnx int8"):
        for case in (f"16 callers, {variant}", f"16 callers, {variant}, busy neighbour"):
            assert cases[f"{case} seq/s"]["in process"]["ratio"] == 1.0
            assert cases[f"{case} ms CPU"].keys() >= {"server", "callers", "engine"}
        assert 1 <= cases[f"16 callers, {variant} rows/batch"]["server"]["median"] <= 16


def test_loading(run: Callable[..., Cases]) -> None:
    """Load time and memory of each SavedModel are measured, by the number of lengths that ran and of models."""
    cases = run("loading")
    for case in ("load to AVAILABLE s", "load without warm-up s", "6 lengths that ran GB", "3 models that ran GB"):
        assert cases[case][PEER]["ratio"] == 1.0
        assert cases[case].keys() >= SAVED


def test_gateway(run: Callable[..., Cases]) -> None:
    """The gateway is compared with the client, for many callers and for one, and its memory is measured."""
    cases = run("gateway", "--sentences=8", "--seconds=1")
    for case in ("16 callers texts/s", "1 caller, short text ms p50"):
        assert cases[case]["Python client"]["ratio"] == 1.0
        assert "gateway" in cases[case]
    assert "gateway" in cases["1 caller, short text ms added"]
    assert 20 < cases["64 callers, 1 s MB resident"]["gateway"]["median"] < 1000


@pytest.mark.cluster
def test_replicas(run: Callable[..., Cases]) -> None:
    """Three replicas are measured against one, and the simulation against the three."""
    cases = run("replicas", "--cost=0.02", "--seconds=0.5")
    assert {"one replica", "three, client"} <= set(cases["24 callers texts/s"])
    assert set(cases["3 replicas, 70% load, 99th percentile ms"]) == {"simulated", "measured"}


@pytest.mark.cluster
def test_bulk_engines(run: Callable[..., Cases]) -> None:
    """Ray and Spark are measured against one process, and the memory of each by the number of rows."""
    require_package("ray")
    require_package("pyspark")
    cases = run("bulk_engines", "--rows=300", "--memory-rows=300")
    assert set(cases["entities of 300 rows rows/s"]) == {"local", "ray", "spark"}
    assert set(cases["300 memory, driver, rows: MB peak"]) == {"local", "ray", "spark"}
    assert set(cases["300 memory, worker, rows: MB peak"]) == {"ray", "spark"}


def test_summary(results: Path, run: Callable[..., Cases]) -> None:
    """The summary finds the figures of each benchmark that has been run."""
    del run
    command = [sys.executable, "summary.py", "--size=tiny", f"--results={results}"]
    printed = subprocess.run(command, cwd=BENCHMARKS, check=True, capture_output=True, text=True).stdout
    rows = [line for line in printed.splitlines() if line.startswith("| ") and "benchmarks/" in line]
    missing = [row for row in rows if "not measured" in row and not any(name in row for name in NOT_RUN)]
    assert missing == []
    assert (results / "summary-tiny.png").is_file()
