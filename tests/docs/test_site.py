"""The documentation site builds, and loads nothing from other hosts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from optional import skip_without
from paths import ROOT

pytestmark = pytest.mark.slow

LOADS = re.compile(
    r"""<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|<link\b[^>]*\bhref=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|url\(["']?((?:https?:)?//[^"')\s]+)"""
    r"""|@import\s+["']((?:https?:)?//[^"']+)"""
)
"""Matches what makes a browser send a request to another host; links that a reader may click do not count."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site strictly; return its directory."""
    if find_spec("mkdocs") is None:
        skip_without("mkdocs", "make setup")
    directory = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(directory)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return directory


def test_site_builds(site: Path) -> None:
    """README.md, the guides, the decisions and the API reference are pages of the site."""
    for page in (
        "index",
        "getting-started",
        "changelog",
        "contributing",
        "decisions/0001-one-traced-function-with-fixed-lengths",
    ):
        assert (site / f"{page}.html").is_file()
    assert 'id="bertbundle.Client.entities"' in (site / "reference/client.html").read_text(encoding="utf-8")
    assert not (site / "scripts").exists()


def test_site_sends_no_request_to_other_hosts(site: Path) -> None:
    """No page, style sheet or script of the site loads anything from another host."""
    files = [path for path in site.rglob("*") if path.suffix in (".html", ".css")]
    assert len(files) > 60
    found = {path.name: LOADS.findall(path.read_text(encoding="utf-8")) for path in files}
    assert {name: urls for name, urls in found.items() if urls} == {}


def test_links_of_the_readme(site: Path) -> None:
    """The README's links to files under docs/ are links between pages of the site."""
    text = (site / "index.html").read_text(encoding="utf-8")
    assert 'href="getting-started.html"' in text
    assert 'src="flow.svg"' in text
    assert "docs/" not in re.sub(r"<title>.*?</title>", "", text.split("<article")[1].split("</article>")[0])
