"""The benchmarks run: on a tiny model, so that they do not rot."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_engine(tmp_path: Path) -> None:
    """Every engine is measured in every case, beside the peer, whose ratio is 1; the machine is named."""
    options = ["--size=tiny", "--rounds=1", "--sentences=8", f"--results={tmp_path}"]
    subprocess.run([sys.executable, "engine.py", *options], cwd=BENCHMARKS, check=True, capture_output=True)
    report = json.loads((tmp_path / "engine-tiny.json").read_text(encoding="utf-8"))
    assert report["machine"]["cores"] >= 1
    cases: dict[str, dict[str, float]] = {}
    for row in report["rows"]:
        assert row["low"] <= row["median"] <= row["high"]
        case = row["case"].partition(" of ")[0]
        cases.setdefault(case, {})[row["variant"]] = row["ratio"]
    assert set(cases) >= {"[1, 32]", "[1, 128]", "[32, 128]", "[32, 128] first", "natural lengths"}
    for variants in cases.values():
        assert variants["TFBert as saved"] == 1.0
        assert {"saved_model float32", "saved_model bfloat16", "onnx float32"} <= variants.keys()
    assert {"limit: float32 product", "limit: bfloat16 product"} <= cases["[32, 128]"].keys()


def test_served(tmp_path: Path) -> None:
    """Both servers answer each number of callers."""
    options = ["--size=tiny", "--rounds=1", "--sentences=4", f"--results={tmp_path}"]
    subprocess.run([sys.executable, "served.py", *options], cwd=BENCHMARKS, check=True, capture_output=True)
    report = json.loads((tmp_path / "served-tiny.json").read_text(encoding="utf-8"))
    found = {(row["case"].partition(" ")[0], row["variant"]) for row in report["rows"]}
    assert found == {(callers, name) for callers in ("1", "8", "32") for name in ("TFBert as saved", "bundle")}
