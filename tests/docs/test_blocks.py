"""Every command and every Python example of README.md and docs/ is run by a test."""

from __future__ import annotations

import re

from documents import pages, read_blocks
from paths import ROOT

RUN_BY = {
    "README.md": "tests/test_readme.py",
    "docs/getting-started.md": "tests/test_readme.py",
    "docs/exporting.md": "tests/test_readme.py",
    "docs/serving.md": "tests/test_readme.py",
    "docs/clients.md": "tests/docs/test_clients_page.py",
    "docs/evaluation.md": "tests/docs/test_evaluation_page.py",
    "docs/checkpoints.md": "tests/docs/test_checkpoints_page.py",
    "docs/text-api.md": "tests/docs/test_text_api_page.py",
    "docs/deploy/kubernetes.md": "tests/docs/test_deploy_pages.py",
    "docs/deploy/kserve.md": "tests/docs/test_deploy_pages.py",
    "docs/deploy/sagemaker.md": "tests/docs/test_deploy_pages.py",
    "docs/rollout.md": "tests/docs/test_rollout_page.py",
    "docs/deploy/ray.md": "tests/docs/test_bulk_pages.py",
    "docs/deploy/spark.md": "tests/docs/test_bulk_pages.py",
    "docs/observability.md": "tests/docs/test_observability_page.py",
}
"""The test file that runs all `sh` and `python` blocks of a page."""

LANGUAGES = {"", "json", "python", "sh", "text"}
"""The allowed languages of code blocks; a command or an example in another language would not be tested."""


def test_blocks_are_run() -> None:
    """The blocks of each page with commands or Python are run by a test file that names the page."""
    with_code = {page for page in pages() if {block.language for block in read_blocks(page)} & {"sh", "python"}}
    assert with_code == RUN_BY.keys()
    assert {page for page, file in RUN_BY.items() if page not in (ROOT / file).read_text(encoding="utf-8")} == set()


def test_languages_are_known() -> None:
    """Every block is in a language that the tests know."""
    assert {block.language for page in pages() for block in read_blocks(page)} <= LANGUAGES


def test_make_targets_exist() -> None:
    """Every make target that a page names in code exists."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    text = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in pages())
    assert set(re.findall(r"(?:^|`)make ([a-z][a-z-]*)", text, flags=re.MULTILINE)) - targets == set()
