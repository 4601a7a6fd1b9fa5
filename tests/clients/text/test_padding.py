"""The fraction of padding in the requests of a client."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from paths import ROOT

pytestmark = pytest.mark.slow

BENCHMARK = ROOT / "benchmarks" / "clients" / "padding.py"


def test_padding_of_natural_text(shared: Callable[[str], Path], tmp_path: Path) -> None:
    """For 3000 Chinese sentences, padding is less than 10 % with the default lengths, and more with fewer lengths."""
    shared("data/msra-ner/test.bio.txt")
    shared("data/bert-base-chinese-vocab.txt")
    subprocess.run([sys.executable, BENCHMARK, "--json", tmp_path / "figures.json"], check=True, timeout=300)
    figures = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    shares = [figures[f"padding_{name}"] for name in ("by_8", "default", "by_16", "doubling", "one")]
    assert 0 < shares[1] < 0.1
    assert shares == sorted(shares)
