"""Paths in the repository."""

from __future__ import annotations

from pathlib import Path

__all__ = ["OTHERS", "ROOT"]

ROOT = Path(__file__).resolve().parents[2]
"""The root of the repository."""

OTHERS = ROOT / "build/others/bin/python"
"""The environment of `make setup-cluster` with the packages that need older versions than the project's."""
