"""docs/architecture.md and CONTRIBUTING.md match the repository: paths exist, and every folder is described."""

from __future__ import annotations

import re

import pytest

from paths import ROOT

PACKAGES = (
    "clients/bertbundle",
    "export/bertbundle_export",
    "serving/bertbundle_gateway",
    "serving/bertbundle_serving",
)
PATH = re.compile(r"`((?:benchmarks|clients|docs|examples|export|serving|tests)/[\w./-]*|mkdocs\.yml)`")


def folders(package: str) -> list[str]:
    """Return the folders of a package, itself included."""
    directories = [path for path in (ROOT / package).rglob("*") if path.is_dir() and path.name != "__pycache__"]
    return [f"{package}/", *sorted(f"{path.relative_to(ROOT)}/" for path in directories if any(path.iterdir()))]


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_paths_exist(page: str) -> None:
    """Every path that the page names exists in the repository."""
    named = set(PATH.findall((ROOT / page).read_text(encoding="utf-8")))
    assert named
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_folder_is_described(package: str) -> None:
    """docs/architecture.md mentions every folder of the package."""
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    assert [folder for folder in folders(package) if f"`{folder}`" not in text] == []


def test_where_do_i_change_x() -> None:
    """The table of changes has at least 20 rows, and every row names a path."""
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    table = text.split("## Where do I change X?")[1].split("\n## ")[0]
    _, _, *rows = [line for line in table.splitlines() if line.startswith("|")]
    assert len(rows) >= 20
    assert [row for row in rows if not PATH.search(row)] == []


def test_picture_has_every_folder() -> None:
    """The picture of the layers shows each package and each of its folders."""
    picture = (ROOT / "docs/architecture.svg").read_text(encoding="utf-8")
    labels = set(re.findall(r">([\w./]+)</text>", picture))
    names = {path.name for package in PACKAGES for path in (ROOT / package).iterdir() if any(path.glob("*.py"))}
    assert {*PACKAGES, *names} - labels == set()
