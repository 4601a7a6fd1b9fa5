"""Clients of models that differ, as targets of a comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bertbundle.evaluation.comparison.compare import Comparison, Target
from bertbundle.evaluation.reports.report import Bootstrap
from fakes import FakeTransport, Model, connect

__all__ = ["TAGGED", "comparison", "target", "write"]

TAGGED = "Wang\tB-PER\nlives\tO\nin\tO\nBerlin\tB-LOC\n\nWang\tB-PER\n\nlives\tO\n"
"""Three texts with the tags that the small tagger finds."""


def target(model: Model, name: str = "ner") -> Target:
    """Return a target in this process."""
    return Target(f"{name}@{model.version}", connect(FakeTransport(model)), name)


def write(directory: Path, name: str, text: str) -> str:
    """Write a data file and return its path."""
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def comparison(path: str, **settings: Any) -> Comparison:
    """Return a comparison without a measurement of latencies."""
    return Comparison(path, **{"latency_texts": 0, "bootstrap": Bootstrap(50), **settings})
