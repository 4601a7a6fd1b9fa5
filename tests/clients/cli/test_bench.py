"""`bertbundle bench`: figures, histogram and plot of a load test."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bertbundle.cli.bench import LoadTestResult, make_plotter
from optional import require_package

Run = Callable[..., str]


def test_bench(run: Run, ner: list[str]) -> None:
    """A load test reports the number of calls and their latencies, as text with a histogram and as JSON."""
    figures = json.loads(run("bench", *ner, "--seconds", "0.3", "--concurrency", "2", "--json", "Wang", "a"))
    assert figures["calls"] >= 2
    assert figures["errors"] == {}
    assert 0 < figures["latency_ms"]["p50"] <= figures["latency_ms"]["max"]
    summary, latency, *bars = run("bench", *ner, "--seconds", "0.2", "--batch", "2", "Wang", "a").splitlines()
    assert "errors: none" in summary
    assert "p99" in latency
    calls = int(summary.split()[0])
    assert sum(int(bar.split()[-1]) for bar in bars) == calls


def test_percentiles() -> None:
    """A percentile is the latency that the given fraction of the calls did not exceed."""
    result = LoadTestResult(2.0, tuple(hundredths / 100 for hundredths in range(1, 101)), 200, {"UNAVAILABLE": 3})
    assert (result.percentile(0.5), result.percentile(0.99), result.percentile(1.0)) == (0.5, 0.99, 1.0)
    assert result.to_dict()["texts_per_second"] == 100.0
    empty = LoadTestResult(1.0, (), 0, {"UNAVAILABLE": 3})
    assert empty.to_dict()["latency_ms"] is None
    assert empty.to_lines() == ["0 calls, 0.0 texts/s, errors: {'UNAVAILABLE': 3}"]


def test_plot_needs_matplotlib(fail: Run, ner: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """If matplotlib is not installed, the message says what to install."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    message = fail("bench", *ner, "--seconds", "60", "--png", "x.png", "a")
    assert "pip install 'bertbundle[bench]'" in message


@pytest.mark.parametrize("seconds", [(0.1, 0.2, 0.2, 5.0), (0.1,), ()], ids=["four", "one", "none"])
def test_plot(tmp_path: Path, seconds: tuple[float, ...]) -> None:
    """The latency distribution is plotted as a PNG, also of one call or of none."""
    require_package("matplotlib")
    make_plotter(str(tmp_path / "x.png"))(LoadTestResult(2.0, seconds, len(seconds), {}))
    data = (tmp_path / "x.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")  # source: RFC 2083, section 3.1
    assert [int.from_bytes(data[start : start + 4], "big") for start in (16, 20)] == [1050, 600]


def test_png_flag(run: Run, fail: Run, ner: list[str], tmp_path: Path) -> None:
    """--png saves a plot of the load test; an unknown suffix is refused before the test."""
    require_package("matplotlib")
    assert "errors: none" in run("bench", *ner, "--seconds", "0.1", "--png", str(tmp_path / "x.png"), "a")
    assert (tmp_path / "x.png").stat().st_size > 1000
    assert "x.foo does not have one of the suffixes " in fail("bench", *ner, "--seconds", "60", "--png", "x.foo", "a")
