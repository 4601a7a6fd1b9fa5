"""Skipped tests: their reasons, and the summary that counts them."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

from optional import HOW_TO_GET
from paths import ROOT

WAYS_TO_SKIP = {"skip", "skipif", "importorskip", "skipTest", "SkipTest"}
SKIPPING = """
import pytest
from optional import require_package, skip_without

@pytest.mark.parametrize("number", range(2))
def test_without_chromium(number):
    skip_without("chromium")

def test_without_data():
    skip_without("data/x", "set BERTBUNDLE_DATA")

def test_passes():
    assert require_package("json.decoder").JSONDecoder
"""


def test_only_the_module_optional_skips() -> None:
    """Every skip goes through tests/support/optional.py, so that its reason says how to get what is missing."""
    skipping = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if path.name != "optional.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in WAYS_TO_SKIP and "pytest" in ast.unparse(node)
    ]
    assert skipping == []
    assert all(HOW_TO_GET.values())


def test_summary_counts_skips_by_reason(tmp_path: Path) -> None:
    """The summary has a line for each reason, and pytest's own closing line comes last."""
    (tmp_path / "test_skipping.py").write_text(SKIPPING, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", f"--config-file={ROOT / 'pyproject.toml'}"]
    command += ["-p", "skip_summary", "-p", "no:cacheprovider", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests/support"), "PYTEST_ADDOPTS": ""}
    run = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    lines = run.stdout.splitlines()
    assert lines[-3].split(maxsplit=1) == ["2", "skipped: needs chromium: apt install chromium"]
    assert lines[-2].split(maxsplit=1) == ["1", "skipped: needs data/x: set BERTBUNDLE_DATA"]
    assert lines[-1].strip("= ").startswith("1 passed, 3 skipped in ")
